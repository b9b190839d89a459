// Package tunnel keeps a connection to the server open through which the server reaches
// this node: its own server for logs, exec and metrics, and its pods. Who runs behind a
// firewall or an address translation needs no port that is reached from outside.
//
// [Run] opens it with the node's certificate and, when it breaks, again. On it this side
// is the server of HTTP/2 (engine/api/tunnel has the other), and each CONNECT is one
// connection. What may be reached [Config.Allows] decides; all else is refused, so that
// nobody who has the server's rights gets at other ports of this machine, nor through
// it at its network.
package tunnel
