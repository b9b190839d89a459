// Package status writes the statuses of pods to the API.
package status
