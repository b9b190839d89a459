package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/serve"
	"headway.dev/nodes/ingress/upstream"
)

// benchBackend is set in the process that a benchmark has as its proxy: where that sends
// requests.
const benchBackend = "HEADWAY_BENCH_INGRESS_BACKEND"

func TestMain(m *testing.M) {
	if to := os.Getenv(benchBackend); to != "" {
		if err := benchProxy(to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// benchProxy serves until its input ends, and prints where.
func benchProxy(to string) error {
	p := &proxy{upstreams: upstream.New((&net.Dialer{}).DialContext), certificates: &certificates.Store{}}
	defer p.upstreams.Close()
	p.server = serve.New(serve.Config{Upstreams: p.upstreams, Certificates: p.certificates, Drain: time.Second, Log: slog.New(slog.DiscardHandler)})
	p.service("", to)
	p.ingress(nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	return p.server.Serve(ctx, l, false)
}

// BenchmarkRequests measures requests by HTTP/1.1 of 32 connections, straight to a
// backend, through the proxy and through nginx: how many there are in a second, and how
// much CPU the proxy needs for each. Clients, backend and proxy share the machine.
func BenchmarkRequests(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		body := strings.Repeat("x", size)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		b.Cleanup(s.Close)
		backend := s.Listener.Addr().String()
		for _, via := range []struct {
			name  string
			start func(*testing.B, string) (string, []int)
		}{
			{"direct", func(_ *testing.B, backend string) (string, []int) { return backend, nil }},
			{"headway", benchHeadway},
			{"nginx", benchNginx},
		} {
			address, pids := via.start(b, backend)
			b.Run(fmt.Sprintf("%s/bytes=%d", via.name, size), func(b *testing.B) { benchRequests(b, address, pids) })
		}
	}
}

func benchRequests(b *testing.B, address string, pids []int) {
	b.Helper()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}}
	defer c.CloseIdleConnections()
	before, began := cpu(b, pids), time.Now()
	b.SetParallelism(16) // of two processors
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+"/", nil)
			if err != nil {
				b.Error(err)
				return
			}
			resp, err := c.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				b.Errorf("%d, %v", resp.StatusCode, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "requests/s")
	if len(pids) > 0 {
		b.ReportMetric(float64((cpu(b, pids)-before).Microseconds())/float64(b.N), "cpu-µs/request")
	}
}

// cpu is how much the processes have used.
func cpu(b *testing.B, pids []int) time.Duration {
	b.Helper()
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		for _, at := range []int{11, 12} { // utime, stime
			n, err := strconv.ParseInt(fields[at], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}

func benchHeadway(b *testing.B, backend string) (string, []int) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0]) //nolint:gosec // itself
	cmd.Env = append(os.Environ(), benchBackend+"="+backend)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(address), []int{cmd.Process.Pid}
}

func benchNginx(b *testing.B, backend string) (string, []int) {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	dir := b.TempDir()
	config := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  upstream backend { server %[2]s; keepalive 64; keepalive_requests 1000000; }
  server {
    listen %[3]s;
    location / {
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Real-IP $remote_addr;
    }
  }
}
`, dir, backend, address)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	program := "nginx"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/nginx"
	}
	cmd := exec.CommandContext(b.Context(), program, "-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-g", "user root;") //nolint:gosec // a program of the machine
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("nginx does not listen: %v", err)
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	pids := []int{cmd.Process.Pid}
	for field := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return address, pids
}
