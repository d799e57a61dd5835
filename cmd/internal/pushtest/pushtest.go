// Package pushtest stands in for what Google does between a Pub/Sub push
// subscription and its endpoint: it signs the tokens of pushes, which the emulator
// does not, and answers for the public keys that they are verified with.
package pushtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What the tokens of pushes are for, and of whom.
const (
	Audience = "https://consent.example/"
	Account  = "push@p.iam.gserviceaccount.com"
)

const certificates = "www.googleapis.com" // the host that has the public keys

// A Google signs with a key of its own.
type Google struct{ key *rsa.PrivateKey }

// New makes a Google.
func New(t testing.TB) Google {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return Google{key}
}

// ServeHTTP answers with the public key.
func (g Google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Host != certificates || r.URL.Path != "/oauth2/v3/certs" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "max-age=3600")
	json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kid": "1", "kty": "RSA", "alg": "RS256", "use": "sig",
		"n": base64.RawURLEncoding.EncodeToString(g.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(g.key.E)).Bytes()),
	}}})
}

// RoundTrip implements [http.RoundTripper], for a client in the test's process.
func (g Google) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result(), nil
}

// Token returns what a push sends as Authorization, with claims in place of the
// right ones.
func (g Google) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": "https://accounts.google.com", "aud": Audience, "email": Account, "email_verified": true, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, g.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Front serves what the emulator pushes to. It does what the emulator does not: it
// hands on objections alone, as the subscription's filter says, and with a token. Their
// statuses go to answers.
func (g Google) Front(t testing.TB, to string, answers chan<- int) *httptest.Server {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the test has ended
		}
		if !bytes.Contains(body, []byte(`"event_type":"objection`)) && !bytes.Contains(body, []byte(`"event_type": "objection`)) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Authorization", g.Token(t, nil))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		response.Body.Close()
		w.WriteHeader(response.StatusCode)
		answers <- response.StatusCode
	}))
	t.Cleanup(front.Close)
	return front
}

// Environment returns the variables with which another process takes this for Google:
// a proxy that ends TLS itself, and the certificate to trust.
func (g Google) Environment(t testing.TB) []string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{certificates}, NotAfter: time.Now().Add(24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &g.key.PublicKey, g.key)
	if err != nil {
		t.Fatal(err)
	}
	trusted := filepath.Join(t.TempDir(), "google.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewUnstartedServer(g)
	keys.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: g.key}}}
	keys.StartTLS()
	t.Cleanup(keys.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", keys.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(server, client)
		io.Copy(client, server)
	}))
	t.Cleanup(proxy.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "https_proxy=" + proxy.URL, "SSL_CERT_FILE=" + trusted, "SSL_CERT_DIR=" + t.TempDir()}
}
