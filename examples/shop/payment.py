"""Payment: takes money from whoever may ask for it. Who may is the mesh's business, not ours."""
import shop


def charge(h, _rest, query):
    for _ in h.body_chunks():
        pass
    h.reply(200, {"charged": int(query.get("cents", "0")), "replica": shop.REPLICA,
                  "caller": h.headers.get("x-forwarded-client-cert", "")})


shop.serve({"/charge": charge})
