package api

// SetUpProcess is what the first New of a process does to it.
var SetUpProcess = setUpProcess
