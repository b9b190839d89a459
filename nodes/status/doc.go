// Package status brings the statuses of pods to the API.
package status
