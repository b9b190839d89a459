// Tool is the only program in the images of the tests: it serves, prints,
// sleeps, fails and uses memory, depending on its first argument.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"serve", ":8080"}
	}
	if err := run(args[0], args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	arg := func(i int, fallback string) string {
		if i < len(args) {
			return args[i]
		}
		return fallback
	}
	number := func(i int, fallback string) int {
		n, err := strconv.Atoi(arg(i, fallback))
		if err != nil {
			fmt.Fprintln(os.Stderr, "tool:", err)
			os.Exit(2)
		}
		return n
	}
	switch command {
	case "serve":
		return serve(arg(0, ":8080"))
	case "sleep":
		// SIGTERM ends it at once with code 0.
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(number(0, "3600")) * time.Second):
		}
	case "stubborn":
		// Only SIGKILL ends it.
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("ignoring SIGTERM")
		<-time.After(time.Hour)
	case "exit":
		fmt.Println("exiting")
		os.Exit(number(0, "0"))
	case "lines":
		// lines N [microseconds of sleep after each hundred]
		pause := time.Duration(number(1, "0")) * time.Microsecond
		for i := range number(0, "1000") {
			fmt.Printf("line %d %s\n", i, strings.Repeat("x", i%97))
			if i%100 == 99 {
				<-time.After(pause)
			}
		}
	case "both":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		fmt.Print("no newline")
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "eat":
		return eat(number(0, "64"))
	case "env":
		for _, e := range os.Environ() {
			fmt.Println(e)
		}
	case "id":
		groups, _ := os.Getgroups()
		fmt.Println(os.Getuid(), os.Getgid(), groups)
	case "read":
		for _, file := range args {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if _, err := os.Stdout.Write(data); err != nil {
				return err
			}
		}
	case "write":
		return os.WriteFile(arg(0, ""), []byte(arg(1, "")), 0o644)
	case "fill":
		// fill FILE MIB: writes until there is no room, then stays.
		return fill(arg(0, ""), number(1, "0"))
	case "files":
		// files DIR N: makes empty files until there is no room, then stays.
		return files(arg(0, ""), number(1, "0"))
	case "get":
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, arg(0, ""), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	case "size":
		return size(number(0, "0"))
	default:
		return fmt.Errorf("unknown command %q", command)
	}
	return nil
}

// serve answers /healthz, /ready (503 after GET /unready until GET
// /makeready), /hostname, /crash and /.
func serve(addr string) error {
	var unready atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("/unready", func(http.ResponseWriter, *http.Request) { unready.Store(true) })
	mux.HandleFunc("/makeready", func(http.ResponseWriter, *http.Request) { unready.Store(false) })
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/hostname", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello", r.RemoteAddr) })
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		fmt.Println("terminating")
		os.Exit(0)
	}()
	fmt.Println("serving on", addr)
	return server.ListenAndServe()
}

// fill writes mib MiB, or until the disk is full.
func fill(file string, mib int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for range mib {
		if _, err = f.Write(buf); err != nil {
			break
		}
	}
	fmt.Println("filled", err)
	<-time.After(time.Hour)
	return nil
}

func files(dir string, n int) error {
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644); err != nil {
			fmt.Println("no more after", i, err)
			break
		}
	}
	<-time.After(time.Hour)
	return nil
}

// eat takes memory and keeps it.
func eat(mib int) error {
	var kept [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	fmt.Println("ate", len(kept), "MiB")
	<-time.After(time.Hour)
	return nil
}
