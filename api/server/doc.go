// Package server answers the HTTP API by which a node is operated. It makes the types of
// Package api of a runtime's, and problems of errors; what other nodes ask on behalf of
// their owners comes to it through the mesh.
package server
