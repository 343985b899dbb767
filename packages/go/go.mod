module sendoff/verify

go 1.20
