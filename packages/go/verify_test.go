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
	Dialect, Name, Body, Type string
	Problem                   Problem
	Valid                     bool
	Now                       int64
	Secrets                   []string
	Headers                   map[string]string
}

func (v vector) header() http.Header {
	header := http.Header{}
	for name, value := range v.Headers {
		header.Set(name, value)
	}
	return header
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
		t.Run(v.Dialect+": "+v.Name, func(t *testing.T) {
			event, err := Dialects[v.Dialect].Verify(v.header(), []byte(v.Body), v.Secrets, DefaultTolerance, time.Unix(v.Now, 0))
			var wrong *Error
			switch {
			case v.Valid && (err != nil || event.Type != v.Type):
				t.Fatalf("got %v, %v; want %s", event, err, v.Type)
			case !v.Valid && (!errors.As(err, &wrong) || wrong.Problem != v.Problem):
				t.Fatalf("got %v; want %s", err, v.Problem)
			}
		})
	}
}

func TestSecretsAndDialectsThatCannotBeUsedAreTheCallersMistake(t *testing.T) {
	header := http.Header{}
	for _, name := range []string{"webhook-id", "webhook-timestamp"} {
		header.Set(name, "1")
	}
	header.Set("webhook-signature", "v1,AAAA v1a,AAAA")
	for _, secrets := range [][]string{nil, {""}, {"whpk_"}, {"whpk_AAAA"}, {"whsec_"}, {"no base64!"}} {
		_, err := Verify("standard", header, []byte("{}"), secrets...)
		var wrong *Error
		if err == nil || errors.As(err, &wrong) {
			t.Errorf("%q: got %v", secrets, err)
		}
	}
	if _, err := Verify("morse", header, nil, "s"); err == nil {
		t.Error("an unknown dialect was taken")
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
