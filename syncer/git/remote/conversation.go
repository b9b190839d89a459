package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Bounds on what a server may say besides the pack.
const (
	maxAdvertised = 32 << 20 // bytes of its list of references
	maxAnswers    = 10_000   // lines before the pack
	maxSaid       = 400      // characters of an error
)

// Git's services, for fetches and for pushes.
const (
	UploadPack  = "git-upload-pack"
	ReceivePack = "git-receive-pack"
)

// conversation is an exchange with a service of a remote: its references, then
// a request and the answer.
type conversation interface {
	// refs brings the list of references, in Git's protocol.
	refs(ctx context.Context) (io.ReadCloser, error)
	// ask sends a request, and brings what the server answers.
	ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	close()
}

// advertised reads the list of references.
func advertised(ctx context.Context, c conversation) (*packp.AdvRefs, error) {
	body, err := c.refs(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body, N: maxAdvertised}
	refs := packp.NewAdvRefs()
	var start opening
	err = refs.Decode(io.TeeReader(limited, &start))
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("the list of references is larger than %d MiB", maxAdvertised>>20)
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && refs.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case err != nil && strings.Contains(string(start), "object-format=sha256"):
		return nil, SHA256Error("the remote")
	case err != nil:
		return nil, fmt.Errorf("read the list of references: %w", err)
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// opening keeps the beginning of what is written to it.
type opening []byte

func (b *opening) Write(p []byte) (int, error) {
	const most = 4 << 10
	*b = append(*b, p[:min(len(p), most-len(*b))]...)
	return len(p), nil
}

// Answer is a server's answer before the pack, and the pack.
type Answer struct {
	Shallow, Unshallow []plumbing.Hash
	Pack               io.Reader
	body               io.Closer
}

// Close ends the exchange.
func (a Answer) Close() error { return a.body.Close() }

// readAnswer reads up to the pack. shallow says that the request had a depth.
func readAnswer(body io.Reader, shallow bool) (Answer, error) {
	var a Answer
	r := bufio.NewReaderSize(body, 64<<10)
	for range maxAnswers {
		if head, err := r.Peek(4); err == nil && string(head) == "PACK" {
			a.Pack = r
			return a, nil
		}
		line, err := readPacket(r)
		if err != nil {
			return a, fmt.Errorf("read the answer: %w", err)
		}
		text := strings.TrimSuffix(string(line), "\n")
		kind, hash, _ := strings.Cut(text, " ")
		switch {
		case kind == "shallow" && shallow && plumbing.IsHash(hash):
			a.Shallow = append(a.Shallow, plumbing.NewHash(hash))
		case kind == "unshallow" && shallow && plumbing.IsHash(hash):
			a.Unshallow = append(a.Unshallow, plumbing.NewHash(hash))
		case line == nil && shallow:
			shallow = false // the flush that ends the list
		case kind == "ACK", kind == "NAK":
		case kind == "ERR":
			return a, fmt.Errorf("the server says: %s", hash)
		case len(line) > 0 && line[0] <= 3:
			d := &sideBand{r: r}
			if err := d.take(line); err != nil {
				return a, err
			}
			a.Pack = d
			return a, nil
		default:
			return a, fmt.Errorf("unexpected answer %q", Printable(text, 80))
		}
	}
	return a, errors.New("the server says too much before the pack")
}

// readPacket reads a line of Git's protocol; nil is a flush.
func readPacket(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil || n > 65520 || n > 0 && n < 4 {
		return nil, fmt.Errorf("invalid packet length %q", Printable(string(head[:]), 4))
	}
	if n == 0 {
		return nil, nil
	}
	line := make([]byte, n-4)
	if _, err := io.ReadFull(r, line); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return line, nil
}

// sideBand takes the pack out of what it is interleaved with. Nothing of the
// server's progress messages is used.
type sideBand struct {
	r    *bufio.Reader
	data []byte
	end  bool
}

func (d *sideBand) take(line []byte) error {
	switch {
	case line == nil:
		d.end = true
	case len(line) == 0:
	case line[0] == 1:
		d.data = line[1:]
	case line[0] == 2:
	case line[0] == 3:
		return fmt.Errorf("the server says: %s", line[1:])
	default:
		return fmt.Errorf("unknown channel %d in the pack", line[0])
	}
	return nil
}

func (d *sideBand) Read(p []byte) (int, error) {
	for len(d.data) == 0 {
		if d.end {
			return 0, io.EOF
		}
		line, err := readPacket(d.r)
		if err != nil {
			return 0, err
		}
		if err := d.take(line); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.data)
	d.data = d.data[n:]
	return n, nil
}

// Request is what a fetch asks for.
type Request struct {
	// Wants are the commits to be sent, without what is in the histories of
	// Haves.
	Wants, Haves []plumbing.Hash
	// Shallows are commits whose parents are missing here.
	Shallows []plumbing.Hash
	// Depth limits the histories; 0 does not, and does not deepen shallow ones.
	Depth int
}

func (q Request) encode(caps *capability.List) ([]byte, error) {
	want := []string{"ofs-delta", "side-band-64k", "no-progress", "agent=" + capability.DefaultAgent()}
	if q.Depth > 0 || len(q.Shallows) > 0 {
		if !caps.Supports(capability.Shallow) {
			return nil, errors.New("the server cannot serve a part of a history")
		}
		want = append(want, "shallow")
	}
	var using []string
	for _, c := range want {
		if name, _, _ := strings.Cut(c, "="); caps.Supports(capability.Capability(name)) {
			using = append(using, c)
		}
	}
	var out strings.Builder
	line := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...) + "\n"
		fmt.Fprintf(&out, "%04x%s", len(text)+4, text)
	}
	for i, h := range q.Wants {
		if i == 0 {
			line("want %s %s", h, strings.Join(using, " "))
		} else {
			line("want %s", h)
		}
	}
	for _, h := range q.Shallows {
		line("shallow %s", h)
	}
	if q.Depth > 0 {
		line("deepen %d", q.Depth)
	}
	out.WriteString("0000")
	for _, h := range q.Haves {
		line("have %s", h)
	}
	line("done")
	return []byte(out.String()), nil
}
