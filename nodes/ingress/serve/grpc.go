package serve

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// spreadTrailers makes a call's answer of trailers only one of headers and trailers, which
// means the same (gRPC over HTTP/2, "Responses"). Such an answer has its status in the only
// frame of headers there is, and that frame ends the stream. Sent on as it is, the headers
// may be flushed before the end is known: the client would get a status that is no trailer.
func spreadTrailers(resp *http.Response) {
	if resp.ProtoMajor != 2 || resp.ContentLength != 0 || resp.Header.Get("Grpc-Status") == "" ||
		!strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		return
	}
	trailer := http.Header{}
	for name, values := range resp.Header {
		switch name {
		case "Content-Type", "Content-Length", "Date", "Server":
			continue
		}
		if httpguts.ValidTrailerHeader(name) {
			trailer[name] = values
			delete(resp.Header, name)
		}
	}
	resp.Header.Del("Content-Length") // there is no trailer after a body of known length
	resp.Trailer, resp.ContentLength = trailer, -1
}
