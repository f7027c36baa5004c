/* Responses to bytes. They wait as what the brain sent, names and shared resources, and become
 * bytes one resource at a time as the client takes them: a slow one costs little more than it has
 * room for.
 */
#include "control/push/edge_priv.h"

void edge_out_add(struct edge_call *c, struct edge_mail *m)
{
    if (c->is_done) {
        edge_link_released(m);
        return;
    }
    list_push_back(&c->out, &m->node);
    edge_out_run(c);
}

static void write_piece(struct edge_call *c, const struct push_response *r)
{
    struct str_buf bytes = STR_BUF_INIT(PUSH_MESSAGE_BYTES_MAX);
    struct chain out;
    chain_init(&out, turn_chunks(c->thread->turn), NULL);
    if (c->piece == 0)
        grpc_frame_begin(&out, ads_response_len(r->variant, &r->ads, r->number));
    ads_response_piece(r->variant, &r->ads, r->number, c->piece, &bytes);
    chain_add(&out, str_buf_str(&bytes));
    edge_count(&c->thread->edge->counts.bytes, out.len);
    edge_call_respond(c);
    service_write(c->s, &out);
    chain_deinit(&out);
    str_buf_deinit(&bytes);
}

void edge_out_run(struct edge_call *c)
{
    struct edge_mail *m;
    while ((m = LIST_FIRST(&c->out, struct edge_mail, node)) != NULL && !c->is_done &&
           service_room(c->s) > 0) {
        write_piece(c, m->response);
        if (c->piece++ < m->response->ads.item_count)
            continue;
        c->piece = 0;
        list_remove(&m->node);
        edge_link_released(m);
    }
}

void edge_out_drop(struct edge_call *c)
{
    LIST_FOREACH (&c->out, m, struct edge_mail, node) {
        list_remove(&m->node);
        edge_mail_free(m);
    }
}
