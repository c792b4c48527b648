package main

// mended take out, one at a time, what holds against guests, loads, clients and peers.
var mended []hunt
