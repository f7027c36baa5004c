-- wrk: each request sends 100 KiB.
wrk.method = "POST"
wrk.body = string.rep("x", 102400)
