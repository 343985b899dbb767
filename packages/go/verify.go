// Package verify checks that a webhook was sent by Sendoff. It needs the standard library alone.
package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// DefaultTolerance is how far a request's time may be from this machine's, either way.
const DefaultTolerance = 5 * time.Minute

const (
	longestTime    = 12
	mostSignatures = 16 // senders send one, in a rotation two
)

// Problem says in a word what is wrong with a request.
type Problem string

// What can be wrong with a request.
const (
	MissingHeader      Problem = "missing_header"
	MalformedHeader    Problem = "malformed_header"
	NoSignatureMatches Problem = "no_signature_matches"
	TooOld             Problem = "too_old"
	TooNew             Problem = "too_new"
	MalformedBody      Problem = "malformed_body"
)

// Error says why a request must not be believed. Any other error of Verify is the caller's mistake.
type Error struct {
	Problem Problem
	Message string
}

func (e *Error) Error() string { return e.Message }

func fail(problem Problem, format string, values ...any) error {
	return &Error{problem, fmt.Sprintf(format, values...)}
}

// Event is the object that a request carries.
type Event struct {
	// ID is set in every dialect, also where a signed header holds it and the body does not.
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
	// Raw is the whole body: the other members of envelopes differ by dialect.
	Raw json.RawMessage `json:"-"`
}

// Scheme is how a dialect signs. Make one with Brand for an installation with its own brand.
type Scheme struct {
	header, timeHeader string
	standard           bool
}

// Brand is the scheme of an installation that sends under its own brand: X-<brand>-Signature, t=<unix>,v1=<hex>.
func Brand(name string) Scheme { return Scheme{header: "X-" + name + "-Signature"} }

// BrandSlack is the same with v0=<hex> in X-<brand>-Signature and the time in X-<brand>-Timestamp.
func BrandSlack(name string) Scheme {
	return Scheme{header: "X-" + name + "-Signature", timeHeader: "X-" + name + "-Timestamp"}
}

// Dialects are the schemes by the names of their dialects.
var Dialects = map[string]Scheme{
	"optimaldial":  Brand("OptimalDial"),
	"default":      Brand("OptimalDial"),
	"house":        Brand("OptimalDial"),
	"dialbird":     Brand("Dialbird"),
	"standard":     {standard: true},
	"standard-v1a": {standard: true},
	"cloudevents":  {standard: true},
}

// Verify gives the event that a request carries if one of secrets signed it within DefaultTolerance.
// The body is the raw one: read it once, within a bound, before anything parses it.
func Verify(dialect string, header http.Header, body []byte, secrets ...string) (*Event, error) {
	scheme, ok := Dialects[dialect]
	if !ok {
		return nil, fmt.Errorf("unknown dialect %q; known are optimaldial, default, dialbird, standard, standard-v1a, cloudevents", dialect)
	}
	return scheme.Verify(header, body, secrets, DefaultTolerance, time.Now())
}

// Verify is the same for this scheme, with a tolerance and a time to go by.
func (s Scheme) Verify(header http.Header, body []byte, secrets []string, tolerance time.Duration, now time.Time) (*Event, error) {
	if len(secrets) == 0 {
		return nil, errors.New("verification needs at least one secret")
	}
	if tolerance < 0 {
		return nil, errors.New("the tolerance must not be negative")
	}
	claim, err := s.read(header)
	if err != nil {
		return nil, err
	}
	message := append([]byte(claim.prefix), body...)
	matches := false
	for _, secret := range secrets {
		found, err := s.isSigned(secret, claim.signatures, message)
		if err != nil {
			return nil, err
		}
		matches = found || matches
	}
	if !matches {
		return nil, fail(NoSignatureMatches, "no signature matches: another secret signed it, or the body is not the bytes that were sent")
	}
	if err := checkTime(claim.time, now, tolerance); err != nil {
		return nil, err
	}
	event, err := parse(body)
	if err == nil && event.ID == "" {
		event.ID = claim.id
	}
	return event, err
}

type claim struct {
	time       int64
	prefix     string
	signatures []string
	id         string // where a signed header holds it and not the body
}

func (s Scheme) read(header http.Header) (claim, error) {
	if s.standard {
		return readStandard(header)
	}
	text, err := take(header, s.header)
	if err != nil {
		return claim{}, err
	}
	if s.timeHeader != "" {
		at, err := take(header, s.timeHeader)
		if err != nil {
			return claim{}, err
		}
		return newClaim(at, s.timeHeader, "v0:"+at+":", named(text, "v0"))
	}
	times := named(text, "t")
	if len(times) != 1 {
		return claim{}, fail(MalformedHeader, "%s must read t=<unix>,v1=<hex>", s.header)
	}
	return newClaim(times[0], s.header, times[0]+".", named(text, "v1"))
}

func readStandard(header http.Header) (claim, error) {
	found := make([]string, 3)
	for index, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		value, err := take(header, name)
		if err != nil {
			return claim{}, err
		}
		found[index] = value
	}
	var signatures []string
	for _, mark := range strings.Split(found[2], " ") {
		if (strings.HasPrefix(mark, "v1,") || strings.HasPrefix(mark, "v1a,")) && len(signatures) < mostSignatures {
			signatures = append(signatures, mark)
		}
	}
	made, err := newClaim(found[1], "webhook-timestamp", found[0]+"."+found[1]+".", signatures)
	made.id = found[0]
	return made, err
}

func newClaim(at, header, prefix string, signatures []string) (claim, error) {
	if len(signatures) == 0 {
		return claim{}, fail(MalformedHeader, "the request holds no signature in the form of its dialect")
	}
	seconds, err := strconv.ParseUint(at, 10, 63)
	if err != nil || len(at) > longestTime {
		return claim{}, fail(MalformedHeader, "the time in %s must be Unix seconds", header)
	}
	return claim{time: int64(seconds), prefix: prefix, signatures: signatures}, nil
}

func take(header http.Header, name string) (string, error) {
	// A header that came in several lines is one whose values are joined with commas.
	if value := strings.Join(header.Values(name), ","); value != "" {
		return value, nil
	}
	return "", fail(MissingHeader, "the request has no %s header", name)
}

func named(text, name string) []string {
	var values []string
	for _, part := range strings.Split(text, ",") {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && key == name {
			values = append(values, value)
		}
	}
	return values
}

// Every signature is compared, in constant time.
func (s Scheme) isSigned(secret string, signatures []string, message []byte) (bool, error) {
	if secret == "" {
		return false, errors.New("a secret must not be empty")
	}
	if strings.ContainsFunc(secret, unicode.IsSpace) {
		return false, errors.New("a secret holds white space: pass each on its own, without the line feed of its file")
	}
	if !s.standard {
		return anyEqual(signatures, hex.EncodeToString(mac([]byte(secret), message))), nil
	}
	if strings.HasPrefix(secret, "whpk_") {
		return isSignedByKey(secret, signatures, message)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return false, errors.New("the secret is not base64; give the one that the registration answered")
	}
	return anyEqual(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac(key, message))), nil
}

func isSignedByKey(secret string, signatures []string, message []byte) (bool, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false, errors.New("the secret is not an ed25519 public key")
	}
	matches := false
	for _, mark := range signatures {
		text, ok := strings.CutPrefix(mark, "v1a,")
		given, err := base64.StdEncoding.DecodeString(text)
		if ok && err == nil && ed25519.Verify(key, message, given) {
			matches = true
		}
	}
	return matches, nil
}

func anyEqual(signatures []string, expected string) bool {
	matches := false
	for _, given := range signatures {
		matches = hmac.Equal([]byte(given), []byte(expected)) || matches
	}
	return matches
}

func mac(key, message []byte) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write(message)
	return hash.Sum(nil)
}

func checkTime(at int64, now time.Time, tolerance time.Duration) error {
	age := now.Sub(time.Unix(at, 0))
	if age > tolerance {
		return fail(TooOld, "it was signed %s ago, %s are allowed: an old request, or this machine's clock is fast", age, tolerance)
	}
	if -age > tolerance {
		return fail(TooNew, "it was signed %s in the future, %s are allowed: this machine's clock is slow", -age, tolerance)
	}
	return nil
}

func parse(body []byte) (*Event, error) {
	event := &Event{Raw: body}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) || json.Unmarshal(body, event) != nil {
		return nil, fail(MalformedBody, "the body is signed, but it is not a JSON object of an event")
	}
	return event, nil
}
