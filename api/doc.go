// Package api holds the types of the HTTP API by which a node is operated, as they are in
// JSON, and the codes of the problems that it answers. They are the API's own: no type of
// a runtime or of a store is among them. Package client asks a node, package server
// answers; the document is openapi.json there.
//
// Node ids, entity ids, origins and digests are text in hexadecimal digits. Bytes are
// base64. A time is RFC 3339 in UTC. Fields may be added in later versions, and a client
// ignores those that it does not know.
package api
