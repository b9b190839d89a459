package podspec_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/manifests/model/podspec"
)

// TestHugeAmounts: what an int64 does not hold, as a sum of amounts that are valid may be,
// counts as much, and not as nothing or less.
func TestHugeAmounts(t *testing.T) {
	const most = 1 << 52
	sum := resource.MustParse("8Ei")
	sum.Add(resource.MustParse("8Ei"))
	for _, tc := range []struct {
		of           resource.Quantity
		whole, milli int64
	}{
		{resource.MustParse("0"), 0, 0},
		{resource.MustParse("1500m"), 2, 1500},
		{resource.MustParse("2Gi"), 2 << 30, 2000 << 30},
		{resource.MustParse("4503599627370496"), most, most},
		{resource.MustParse("5Pi"), most, most},
		{resource.MustParse("8Ei"), most, most},
		{resource.MustParse("1e30"), most, most},
		{sum, most, most},
	} {
		if whole, milli := podspec.Whole(tc.of), podspec.Milli(tc.of); whole != tc.whole || milli != tc.milli {
			t.Errorf("%s is %d and %d thousandths, want %d and %d", tc.of.String(), whole, milli, tc.whole, tc.milli)
		}
	}
}
