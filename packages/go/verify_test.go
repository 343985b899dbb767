package verify

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"
)

type vector struct {
	Dialect, Name, Body, Type, ID, Brand, Scheme string
	Problem                                      Problem
	Valid, Mistake, Dynamic                      bool
	Now                                          int64
	Secrets                                      []string
	Headers                                      json.RawMessage
}

// The headers of a vector: an object or a list of pairs, whose values are text, lists or null.
func (v vector) header(t *testing.T) http.Header {
	var pairs [][2]any
	if json.Unmarshal(v.Headers, &pairs) != nil {
		var object map[string]any
		if err := json.Unmarshal(v.Headers, &object); err != nil {
			t.Fatal(err)
		}
		for name, value := range object {
			pairs = append(pairs, [2]any{name, value})
		}
	}
	header := http.Header{}
	for _, pair := range pairs {
		name := pair[0].(string)
		switch value := pair[1].(type) {
		case string:
			header.Add(name, value)
		case []any:
			for _, one := range value {
				header.Add(name, one.(string))
			}
		}
	}
	return header
}

func (v vector) scheme() Scheme {
	switch {
	case v.Brand != "" && v.Scheme == "slack":
		return BrandSlack(v.Brand)
	case v.Brand != "":
		return Brand(v.Brand)
	}
	return Dialects[v.Dialect]
}

func vectors(t *testing.T) []vector {
	text, err := os.ReadFile("../../docs/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Vectors []vector }
	if err := json.Unmarshal(text, &document); err != nil || len(document.Vectors) == 0 {
		t.Fatal("no vectors", err)
	}
	return document.Vectors
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Dynamic {
			continue // the types of Go rule it out
		}
		t.Run(v.Dialect+": "+v.Name, func(t *testing.T) {
			if _, known := Dialects[v.Dialect]; !known {
				_, err := Verify(v.Dialect, v.header(t), []byte(v.Body), v.Secrets...)
				check(t, v, nil, err)
				return
			}
			event, err := v.scheme().Verify(v.header(t), []byte(v.Body), v.Secrets, DefaultTolerance, time.Unix(v.Now, 0))
			check(t, v, event, err)
		})
	}
}

func check(t *testing.T, v vector, event *Event, err error) {
	var wrong *Error
	isProblem := errors.As(err, &wrong)
	switch {
	case v.Valid && (err != nil || event.Type != v.Type || event.ID != v.ID):
		t.Fatalf("got %v, %v; want %s %s", event, err, v.Type, v.ID)
	case v.Mistake && (err == nil || isProblem):
		t.Fatalf("got %v; want an error of the caller", err)
	case !v.Valid && !v.Mistake && (!isProblem || wrong.Problem != v.Problem):
		t.Fatalf("got %v; want %s", err, v.Problem)
	}
}

func TestAnEmptySecretAmongOthersIsTheCallersMistake(t *testing.T) {
	header := http.Header{"X-Acme-Signature": {"t=1777034096,v1=00"}}
	_, err := Brand("Acme").Verify(header, []byte("{}"), []string{"s", ""}, DefaultTolerance, time.Unix(1777034096, 0))
	var wrong *Error
	if err == nil || errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
}

func TestANegativeToleranceIsTheCallersMistake(t *testing.T) {
	header := http.Header{"X-Acme-Signature": {"t=1777034096,v1=" + hexMac("s", "1777034096.{}")}}
	_, err := Brand("Acme").Verify(header, []byte("{}"), []string{"s"}, -time.Second, time.Unix(1777034096, 0))
	var wrong *Error
	if err == nil || errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
}

func TestASignedBodyThatIsNotAnObjectIsRefused(t *testing.T) {
	now := time.Unix(1777034096, 0)
	for _, body := range []string{"[]", "null", `"x"`, "{", ""} {
		message := "1777034096." + body
		signature := hexMac("s", message)
		header := http.Header{"X-Acme-Signature": {"t=1777034096,v1=" + signature}}
		_, err := Brand("Acme").Verify(header, []byte(body), []string{"s"}, DefaultTolerance, now)
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Problem != MalformedBody {
			t.Errorf("%q: got %v", body, err)
		}
	}
}

func hexMac(secret, message string) string {
	const digits = "0123456789abcdef"
	text := ""
	for _, one := range mac([]byte(secret), []byte(message)) {
		text += string(digits[one>>4]) + string(digits[one&15])
	}
	return text
}
