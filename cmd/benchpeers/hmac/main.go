// Hmac is a redirector as one writes it in an afternoon: it checks the tag of a
// tracked link of the clear path form with the standard library, redirects, and
// does nothing else: no rules, no events.
package main

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	secret, err := base64.StdEncoding.DecodeString(os.Getenv("SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "linkcore/v1 sign", 32)
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		destination, err := url.PathUnescape(rest)
		dot := strings.LastIndexByte(token, '.')
		if err != nil || dot < 0 {
			http.NotFound(w, r)
			return
		}
		host, _, _ := strings.Cut(r.Host, ":")
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("linkcore/v1\n" + host + "\n" + token[:dot] + "\n" + destination))
		if !hmac.Equal([]byte(token[dot+1:]), []byte(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]))) {
			http.NotFound(w, r)
			return
		}
		http.Redirect(w, r, destination, http.StatusFound)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
