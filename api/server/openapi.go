package server

import (
	_ "embed"
	"net/http"
)

// openAPI is the API's document. go test -run OpenAPI -update makes it of the
// operations and their types.
//
//go:embed openapi.json
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // the client is gone if this fails
	return nil
}
