package proxy_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/proxy"
)

// sctpInit is the first packet of an association.
func sctpInit(from, to uint16) []byte {
	p := make([]byte, 32)
	binary.BigEndian.PutUint16(p[0:], from)
	binary.BigEndian.PutUint16(p[2:], to)
	p[12] = 1                                   // INIT
	binary.BigEndian.PutUint16(p[14:], 20)      // its length
	binary.BigEndian.PutUint32(p[16:], 0x1234)  // tag
	binary.BigEndian.PutUint32(p[20:], 1<<16)   // window
	binary.BigEndian.PutUint32(p[24:], 1<<16|1) // streams
	binary.BigEndian.PutUint32(p[28:], 1)       // TSN
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// rawSCTP is a socket that sees packets of SCTP, for which the kernel needs no
// SCTP of its own.
func (h *host) rawSCTP(t *testing.T) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	err := h.do(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "ip4:132", h.ip)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A packet that begins an association reaches an endpoint, at the endpoint's
// port and with a checksum that is right.
func TestSCTP(t *testing.T) { eachMode(t, testSCTP) }

func testSCTP(t *testing.T, mode proxy.Mode) {
	t.Helper()
	server, client := newPod(t, a).rawSCTP(t), newPod(t, "10.244.0.20")
	raw := client.rawSCTP(t)
	m := newMemory()
	m.set(newService("web", vip, 0, func(s *corev1.Service) {
		s.Spec.Ports = s.Spec.Ports[:1]
		s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP
	}), ready(a))
	start(t, mode, m)
	from := uint16(40000)
	buf := make([]byte, 100)
	eventually(t, "an INIT arrives", func() bool {
		from++
		if _, err := raw.WriteTo(sctpInit(from, 80), &net.IPAddr{IP: net.ParseIP(vip)}); err != nil {
			return false // there is no route yet
		}
		if err := server.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, sender, err := server.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		got := buf[:n]
		if sender.String() != client.ip {
			t.Errorf("the packet comes from %s, want %s", sender, client.ip)
		}
		if n != 32 || got[12] != 1 {
			return false
		}
		source := binary.BigEndian.Uint16(got)
		if want := sctpInit(source, 8080); string(got) != string(want) {
			t.Errorf("got % x, want % x", got, want)
		}
		return true
	})
}
