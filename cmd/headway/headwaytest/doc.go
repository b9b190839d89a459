// Package headwaytest contains what the tests of Headway's commands share:
// clusters in the test's own process, repositories, and golden files.
package headwaytest
