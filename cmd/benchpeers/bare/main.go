// Bare is net/http answering everything with one redirect: the least that a
// redirector in Go costs.
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://www.example.com/spring/offers")
		w.WriteHeader(http.StatusFound)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
