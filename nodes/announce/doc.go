// Package announce makes a node answer for addresses of Services of type LoadBalancer:
// those for which the server has chosen it (nodeconfig.AnnouncedBy). The service proxy
// leads what arrives there to endpoints.
//
//	Services (API) ── chosen for ──▶ Announcer.look ──▶ addresses on a link of their own; ARP tells the neighbours
//
// The kernel answers ARP for every address of its own, on whichever link it is asked. So
// the addresses are on a link that has nothing else, and what is on that link is what an
// earlier run left. Announcer.Run is one loop and the watch that wakes it; both end with
// its context, and the addresses stay, so that connections go on without the agent.
package announce
