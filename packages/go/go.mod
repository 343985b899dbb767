module sendoff.example/verify

go 1.20
