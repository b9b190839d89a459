// Package tunnel keeps the connections that agents have opened to this server, and
// reaches nodes and their pods through them: where the server cannot dial a node, and
// where it has no route to the pods.
//
//	agent ── GET /headway/v1/tunnels/NAME, Upgrade ──▶ [Tunnels.ServeHTTP]
//	agent ◀── HTTP/2: CONNECT 10.42.1.7:8443 ───────────── [Tunnels.DialNode], [Tunnels.DialPod]
//
// On the upgraded connection the roles turn: the agent is the server of HTTP/2. Each
// CONNECT is one connection to a program on the node, and what it may reach the agent
// decides (nodes/tunnel). Nothing that comes out of a tunnel is believed: TLS to the
// node's server and to webhooks goes through it as it goes over a network.
//
// A tunnel is used where there is one. Otherwise the address is dialled, and whatever
// comes first is taken: the connection, or a tunnel. All is safe for concurrent use.
package tunnel
