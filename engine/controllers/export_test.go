package controllers

// Selected resolves the syntax of --controllers.
var Selected = selected
