// Framework is the Functions Framework answering everything with one redirect:
// the least that a function costs.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func main() {
	functions.HTTP("Bare", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://www.example.com/spring/offers")
		w.WriteHeader(http.StatusFound)
	})
	os.Setenv("FUNCTION_TARGET", "Bare")
	log.Fatal(funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")))
}
