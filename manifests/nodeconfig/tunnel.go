package nodeconfig

import "net/url"

// TunnelProtocol is what the connection of a request for TunnelPath is upgraded to: from
// then on the server is the client of HTTP/2, and sends CONNECT for an address that it
// wants to reach on the node.
const TunnelProtocol = "headway-tunnel-v1"

// TunnelPrefix is what the paths of all tunnels begin with.
const TunnelPrefix = "/headway/v1/tunnels/"

// TunnelPath is where the agent of a node opens its tunnel.
func TunnelPath(node string) string { return TunnelPrefix + url.PathEscape(node) }
