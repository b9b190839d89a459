package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/dns/forward"
	"headway.dev/nodes/dns/records"
)

// udpSize is what fits into a packet on any way.
const udpSize = 1232

// source is where an answer is from.
type source string

const (
	fromCluster source = "cluster"
	fromHosts   source = "hosts"
	fromOthers  source = "forward"
	fromNowhere source = "none"
)

// serveOne answers one question.
func (s *Server) serveOne(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) {
	began := time.Now()
	client := clientOf(w.RemoteAddr())
	var m *dns.Msg
	from := fromNowhere
	if !guard.Do(ctx, "answer a question for a name", func() { m, from = s.answer(ctx, r, client) }) {
		m = fail(dns.RcodeServerFailure)
	}
	complete(m, r, w.LocalAddr().Network() == "udp")
	s.metrics.answered(from, m.Rcode, time.Since(began))
	if err := w.WriteMsg(m); err != nil {
		s.cfg.Log.Debug("an answer was not sent", "client", client, "err", err)
	}
}

func fail(rcode int) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}} }

// answer returns what there is to say, without what complete adds. The library has
// refused already what is not one question.
func (s *Server) answer(ctx context.Context, r *dns.Msg, client netip.Addr) (*dns.Msg, source) {
	if len(r.Question) != 1 {
		return fail(dns.RcodeFormatError), fromNowhere
	}
	if len(s.cfg.Clients) > 0 && !slices.ContainsFunc(s.cfg.Clients, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return fail(dns.RcodeRefused), fromNowhere
	}
	if opt := r.IsEdns0(); opt != nil && opt.Version() != 0 {
		return fail(dns.RcodeBadVers), fromNowhere
	}
	q := r.Question[0]
	switch {
	case q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR:
		return fail(dns.RcodeRefused), fromNowhere
	case q.Qtype == dns.TypeOPT || q.Qtype == dns.TypeNone:
		return fail(dns.RcodeFormatError), fromNowhere
	}
	a, ours := s.zone.Lookup(q.Name, q.Qtype)
	if !ours {
		m, from, err := s.ask(ctx, r, q.Name, client)
		if err != nil {
			return fail(rcodeOf(err)), from
		}
		return m, from
	}
	if !s.services.Load() || !s.slices.Load() {
		// A name that is not known yet is not one that does not exist.
		return fail(dns.RcodeServerFailure), fromCluster
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: a.Rcode, Authoritative: true}, Answer: a.Answer, Ns: a.Ns, Extra: a.Extra}
	if q.Qtype == dns.TypeANY && a.Rcode == dns.RcodeSuccess { // RFC 8482
		m.Answer = []dns.RR{&dns.HINFO{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"}}
		m.Ns, m.Extra = nil, nil
		return m, fromCluster
	}
	if a.Target != "" {
		next, _, err := s.ask(ctx, r, a.Target, client)
		if err != nil {
			return fail(rcodeOf(err)), fromCluster
		}
		m.Rcode, m.Answer, m.Ns = next.Rcode, append(m.Answer, next.Answer...), next.Ns
	}
	shuffle(m.Answer)
	return m, fromCluster
}

// ask looks among the hosts of the settings, and asks others about a name, with the bits
// of the question.
func (s *Server) ask(ctx context.Context, r *dns.Msg, name string, client netip.Addr) (*dns.Msg, source, error) {
	if rrs, ok := s.fromHosts(name, r.Question[0].Qtype); ok {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Authoritative: true}, Answer: rrs}, fromHosts, nil
	}
	if !s.configured.Load() {
		return nil, fromOthers, errNotConfigured
	}
	q := forward.Question{Name: name, Type: r.Question[0].Qtype, Unchecked: r.CheckingDisabled}
	if opt := r.IsEdns0(); opt != nil {
		q.DNSSEC = opt.Do()
	}
	m, err := s.forward.Ask(ctx, q, client)
	if err != nil {
		s.cfg.Log.Debug("no answer from other name servers", "name", name, "err", err)
		return nil, fromOthers, err
	}
	m.Authoritative = false
	if !q.DNSSEC && !r.AuthenticatedData {
		m.AuthenticatedData = false
	}
	return m, fromOthers, nil
}

// fromHosts returns what the hosts of the settings have of a name, and false if they do
// not have it.
func (s *Server) fromHosts(name string, qtype uint16) (rrs []dns.RR, ok bool) {
	hosts := s.hosts.Load()
	if hosts == nil {
		return nil, false
	}
	if addr, ok := records.ReverseAddr(name); ok {
		names := hosts.Names(addr)
		for _, n := range names {
			if qtype == dns.TypePTR {
				rrs = append(rrs, &dns.PTR{Hdr: dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: records.TTL}, Ptr: n})
			}
		}
		return rrs, len(names) > 0
	}
	list, ok := hosts.Addresses(dns.CanonicalName(name))
	return records.Addresses(name, qtype, list...), ok
}

var errNotConfigured = errors.New("the settings of the cluster DNS are not known yet")

func rcodeOf(err error) int {
	if errors.Is(err, forward.ErrBusy) || errors.Is(err, forward.ErrLoop) {
		return dns.RcodeRefused
	}
	return dns.RcodeServerFailure
}

// shuffle turns the addresses around: many clients take the first.
func shuffle(answer []dns.RR) {
	if len(answer) < 2 {
		return
	}
	for _, rr := range answer {
		if t := rr.Header().Rrtype; t != dns.TypeA && t != dns.TypeAAAA {
			return
		}
	}
	rand.Shuffle(len(answer), func(i, j int) { answer[i], answer[j] = answer[j], answer[i] })
}

// complete makes an answer of m to the question r that the client can take.
func complete(m, r *dns.Msg, udp bool) {
	m.Id, m.Response, m.Opcode = r.Id, true, r.Opcode
	m.Question = r.Question // in the client's letters
	m.RecursionDesired, m.RecursionAvailable, m.CheckingDisabled = r.RecursionDesired, true, r.CheckingDisabled
	cut := m.Truncated // already by whom it is from
	size := dns.MaxMsgSize - 1
	if udp {
		size = dns.MinMsgSize
	}
	extra := m.Extra
	if opt := r.IsEdns0(); opt != nil {
		if udp {
			size = max(size, min(int(opt.UDPSize()), udpSize))
		}
		m.SetEdns0(udpSize, opt.Do())
	}
	if len(extra) > 0 && m.Len() > size { // it is not worth a second question
		m.Extra = m.Extra[len(extra):]
	}
	m.Truncate(size)
	m.Truncated = m.Truncated || cut
}
