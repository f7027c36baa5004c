/* Headers at the entrance: what is ours at a trust boundary, request id, trace context, XFCC. */
#include "proxy/flow/flow_priv.h"

static const uint64_t stripped_from_strangers =
    HTTP_NAME_BIT(X_TULLE_VERSION) | HTTP_NAME_BIT(X_TULLE_PEER) | HTTP_NAME_BIT(X_TULLE_ORIGIN) |
    HTTP_NAME_BIT(X_ENVOY_ATTEMPT_COUNT) | HTTP_NAME_BIT(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) |
    HTTP_NAME_BIT(X_ENVOY_ORIGINAL_PATH);

/* The peer's proxy notes which version its caller spoke; it is restored towards the app. */
static enum http_version caller_version(const struct http_head *head)
{
    struct str note = http_head_get(head, HTTP_NAME_X_TULLE_VERSION);
    if (str_eq(note, STR("1.1")))
        return HTTP_11;
    if (str_eq(note, STR("1.0")))
        return HTTP_10;
    return head->version;
}

enum { REQUEST_ID_LEN = 36, TRACEPARENT_LEN = 55 };

/* RFC 9562 5.4 from the worker's generator: ids, not secrets. */
static struct str make_request_id(struct exchange *x)
{
    struct random *random = turn_random(x->turn);
    uint64_t a = random_u64(random), b = random_u64(random);
    a = (a & ~0xf000ull) | 0x4000ull;
    b = (b & 0x3fffffffffffffffull) | 0x8000000000000000ull;
    char digits[32], *text = arena_bytes(&x->arena, REQUEST_ID_LEN);
    str_put_hex(str_put_hex(digits, a, 16), b, 16);
    memset(text, '-', REQUEST_ID_LEN);
    memcpy(text, digits, 8);
    memcpy(text + 9, digits + 8, 4);
    memcpy(text + 14, digits + 12, 4);
    memcpy(text + 19, digits + 16, 4);
    memcpy(text + 24, digits + 20, 12);
    return str_from(text, REQUEST_ID_LEN);
}

/* W3C Trace Context: a new root, not sampled, when the caller has neither this nor B3. */
static struct str make_traceparent(struct exchange *x)
{
    struct random *random = turn_random(x->turn);
    char *text = arena_bytes(&x->arena, TRACEPARENT_LEN);
    memcpy(text, "00-", 3);
    str_put_hex(text + 3, random_u64(random) | 1, 16);
    str_put_hex(text + 19, random_u64(random), 16);
    text[35] = '-';
    str_put_hex(text + 36, random_u64(random) | 1, 16);
    memcpy(text + 52, "-00", 3);
    return str_from(text, TRACEPARENT_LEN);
}

static bool has_b3(const struct http_head *head)
{
    return http_head_get(head, HTTP_NAME_X_B3_TRACEID).ptr != NULL ||
           http_head_get(head, HTTP_NAME_B3).ptr != NULL;
}

/* At the edge the id of a stranger would join what has nothing to do with each other. */
static void drop_strange_id(const struct hcm *hcm, struct http_head *head)
{
    if (hcm->use_remote_address && hcm->generate_request_id && !hcm->preserve_external_request_id)
        http_head_remove(head, HTTP_NAME_X_REQUEST_ID);
}

static void add_ids(struct exchange *x, const struct hcm *hcm, struct http_head *head)
{
    if (hcm->generate_request_id && http_head_get(head, HTTP_NAME_X_REQUEST_ID).ptr == NULL)
        http_head_add(head, HTTP_NAME_X_REQUEST_ID, make_request_id(x));
    if (hcm->generate_request_id && http_head_get(head, HTTP_NAME_TRACEPARENT).ptr == NULL &&
        !has_b3(head))
        http_head_add(head, HTTP_NAME_TRACEPARENT, make_traceparent(x));
}

/* The address that the hops-th trusted proxy in front of us wrote, counted from the right, of the
 * field as it came. Without use_remote_address the last element is our own caller's word, so that
 * one more counts. Fewer elements than that: who connected. */
static void find_client(struct request *r, const struct hcm *hcm, const struct http_head *head)
{
    if (hcm->xff_num_trusted_hops == 0)
        return;
    struct str rest = http_head_get_joined(head, STR("x-forwarded-for"));
    uint32_t skip = hcm->xff_num_trusted_hops - (hcm->use_remote_address ? 1 : 0);
    struct addr client;
    for (;; skip--) {
        ptrdiff_t comma = str_rfind(rest, ',');
        if (skip == 0) {
            rest = str_trim(str_skip(rest, (size_t)(comma + 1)));
            break;
        }
        if (comma < 0)
            return;
        rest = str_sub(rest, 0, (size_t)comma);
    }
    if (addr_parse_ip(rest, 0, &client))
        r->client = client;
}

static void add_via(const struct hcm *hcm, struct http_head *head)
{
    if (hcm->via.len == 0)
        return;
    struct str given = http_head_get_joined(head, STR("via"));
    http_head_remove_named(head, STR("via"));
    http_head_add_named(
        head, STR("via"),
        given.len > 0 ? arena_printf(head->arena, "%.*s, %.*s", STR_FMT(given), STR_FMT(hcm->via))
                      : hcm->via);
}

void headers_response(const struct request *r, struct http_head *head)
{
    const struct http_head *request = r->x->flows[SIDE_REQUEST].head;
    add_via(r->hcm, head);
    if (!r->hcm->always_set_request_id_in_response)
        return;
    struct str id = http_head_get(request, HTTP_NAME_X_REQUEST_ID);
    if (id.ptr != NULL)
        http_head_set(head, HTTP_NAME_X_REQUEST_ID, id);
}

static void add_forwarded_for(struct flow_conn *fc, struct http_head *head)
{
    char text[ADDR_TEXT_LEN];
    struct str ip = addr_format_ip(&fc->info.remote, text);
    struct str given = http_head_get_joined(head, STR("x-forwarded-for"));
    http_head_set(head, HTTP_NAME_X_FORWARDED_FOR,
                  given.len > 0
                      ? arena_printf(head->arena, "%.*s,%.*s", STR_FMT(given), STR_FMT(ip))
                      : arena_str(head->arena, ip));
}

/* Whether a caller is of the house is not for itself to say. */
static void drop_strange_origin(struct http_head *head)
{
    http_head_remove_named(head, STR("x-envoy-internal"));
    http_head_remove_named(head, STR("x-envoy-external-address"));
}

/* At an edge what the caller spoke is what this proxy saw; behind one, what was told first. */
static void set_forwarded_proto(const struct flow_conn *fc, bool is_edge, struct http_head *head)
{
    bool is_given = http_head_get(head, HTTP_NAME_X_FORWARDED_PROTO).ptr != NULL;
    bool is_https = fc->info.tls != NULL && (is_edge || !fc->info.is_mtls);
    if (is_edge || !is_given)
        http_head_set(head, HTTP_NAME_X_FORWARDED_PROTO, is_https ? STR("https") : STR("http"));
}

/* Over HTTP/1 nobody says how the caller spoke to the first proxy but x-forwarded-proto: what is
 * told of the scheme (redirects, HTTP/2 upstream) follows that. */
static void set_scheme(const struct hcm *hcm, struct http_head *head)
{
    static const struct str schemes[] = {
        [SCHEME_HTTP] = {"http", 4}, [SCHEME_HTTPS] = {"https", 5}};
    if (hcm->scheme != SCHEME_KEEP) {
        head->scheme = schemes[hcm->scheme];
        http_head_set(head, HTTP_NAME_X_FORWARDED_PROTO, head->scheme);
        return;
    }
    struct str proto = http_head_get(head, HTTP_NAME_X_FORWARDED_PROTO);
    if (head->version == HTTP_2 || head->scheme.len == 0)
        return;
    for (size_t i = SCHEME_HTTP; i < ARRAY_LEN(schemes); i++) {
        if (str_eq_nocase(proto, schemes[i]))
            head->scheme = schemes[i];
    }
}

void headers_request(struct flow_conn *fc, struct request *r, struct http_head *head)
{
    r->version = fc->info.is_mtls ? caller_version(head) : head->version;
    if (fc->info.is_mtls)
        http_head_remove(head, HTTP_NAME_X_TULLE_VERSION);
    else
        http_head_remove_all_of(head, stripped_from_strangers);
    xfcc_set(fc, r->hcm, head);
    bool is_edge = r->hcm->use_remote_address && r->hcm->xff_num_trusted_hops == 0;
    if (is_edge)
        drop_strange_origin(head);
    find_client(r, r->hcm, head);
    drop_strange_id(r->hcm, head);
    add_ids(r->x, r->hcm, head);
    if (r->hcm->use_remote_address && !r->hcm->skip_xff_append)
        add_forwarded_for(fc, head);
    add_via(r->hcm, head);
    set_forwarded_proto(fc, is_edge, head);
    set_scheme(r->hcm, head);
}
