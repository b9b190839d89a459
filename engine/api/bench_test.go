package api_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

// Creates of pods by 8 clients at once.
func BenchmarkCreatePod(b *testing.B) {
	for _, c := range []struct {
		name   string
		config func(*apitest.Server) *rest.Config
	}{
		{"https-json", func(s *apitest.Server) *rest.Config { return s.Config }},
		{"https-protobuf", func(s *apitest.Server) *rest.Config {
			config := rest.CopyConfig(s.Config)
			config.ContentType = runtime.ContentTypeProtobuf
			config.AcceptContentTypes = runtime.ContentTypeProtobuf
			return config
		}},
		{"in-process", func(s *apitest.Server) *rest.Config { return s.API.InProcess("bench", "system:masters") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := apitest.Start(b)
			client := kubernetes.NewForConfigOrDie(c.config(s))
			var n atomic.Int64
			b.SetParallelism(4)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					pod := &corev1.Pod{
						ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", n.Add(1)), Labels: map[string]string{"app": "bench"}},
						Spec: corev1.PodSpec{Containers: []corev1.Container{{
							Name: "web", Image: "example.com/web:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
							Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
						}}},
					}
					if _, err := client.CoreV1().Pods("default").Create(b.Context(), pod, metav1.CreateOptions{}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}

// Who a request is from: a client's certificate is checked once for a connection,
// the token of a service account with each request.
func BenchmarkWhoIsIt(b *testing.B) {
	s := apitest.Start(b)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(b.Context(), account, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	issued, err := admin.CoreV1().ServiceAccounts("default").CreateToken(b.Context(), "bench", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	byToken := rest.AnonymousClientConfig(s.Config)
	byToken.QPS, byToken.BearerToken = -1, issued.Status.Token
	for name, config := range map[string]*rest.Config{"certificate": s.Config, "token": byToken} {
		b.Run(name, func(b *testing.B) {
			client := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews()
			for b.Loop() {
				if _, err := client.Create(b.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
