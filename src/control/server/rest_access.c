/* Access for others than the administrator:
 *   GET    /tulle/v1/access                 who has which
 *   POST   /tulle/v1/access                 gives it; answers a token that is shown this once
 *   DELETE /tulle/v1/access/NAME            takes it */
#include "codec/duration.h"
#include "control/server/server_priv.h"
#include "crypto/digest.h"
#include "mesh/identity/spiffe.h"

enum { YEARS_MAX_S = 10 * 365 * 24 * 3600 };

static const struct {
    const char *name;
    uint32_t verbs;
} roles[] = {
    {"view", 1u << ACCESS_GET | 1u << ACCESS_LIST | 1u << ACCESS_WATCH},
    {"edit", (1u << ACCESS_ADMIN) - 1},
    {"admin", (1u << ACCESS_VERB_COUNT) - 1},
};

/* --- listing --- */

static void on_grant(void *ctx, const struct access_grant *g)
{
    struct json_writer *w = ctx;
    char time[TIME_TEXT_MAX];
    json_writer_object(w, NULL);
    json_writer_str(w, "name", g->name);
    json_writer_str(w, "identity", g->identity);
    json_writer_str(w, "createdAt", g->created_at);
    json_writer_str(w, "expiresAt",
                    g->expires_s > 0 ? time_format((int64_t)g->expires_s * 1000, false, time)
                                     : STR_NULL);
    access_write_rules(w, &g->rules, ACCESS_KINDS_PLURAL);
    json_writer_end(w);
}

static void list(struct rest_call *c)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_array(&w, "items");
    int err = access_list(c->server->args.store, on_grant, &w);
    json_writer_end(&w);
    json_writer_end(&w);
    if (err == 0)
        rest_reply(c, 200, str_buf_str(&out));
    else
        rest_fail_store(c, err, NULL);
    str_buf_deinit(&out);
}

/* --- giving --- */

static bool refuse(struct rest_call *c, const char *why)
{
    rest_fail(c, 400, "BadRequest", "%s", why);
    return false;
}

static bool read_verbs(struct rest_call *c, const struct json *root, uint32_t *ret_verbs)
{
    struct str role = json_str_or(json_get(root, "role"), STR_NULL);
    const struct json *list = json_get(root, "verbs");
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (str_eq(role, str_from_c(roles[i].name)))
            *ret_verbs |= roles[i].verbs;
    }
    if (role.len > 0 && *ret_verbs == 0)
        return refuse(c, "role is view, edit or admin");
    for (size_t i = 0; i < json_count(list); i++) {
        enum access_verb verb;
        if (!access_verb_parse(json_str_or(json_at(list, i), STR_NULL), &verb))
            return refuse(
                c, "verbs are get, list, watch, create, update, patch, delete, admin, bypass");
        *ret_verbs |= 1u << verb;
    }
    return *ret_verbs != 0 || refuse(c, "say a role or verbs");
}

static bool is_field(const char *name, const char *type, struct str key, const struct json *value)
{
    return str_eq(key, str_from_c(name)) && strcmp(json_type_name(value->type), type) == 0;
}

/* What narrows a right must not be lost because it is written wrongly. */
static bool check_fields(struct rest_call *c, const struct json *root)
{
    static const char *const texts[] = {"name", "role", "identity"};
    static const char *const lists[] = {"verbs", "kinds", "namespaces"};
    bool is_good = true;
    for (size_t i = 0; is_good && root->type == JSON_OBJECT && i < json_count(root); i++) {
        const struct json *value = json_at(root, i);
        is_good = str_eq(root->keys[i], STR("expiresInSeconds"));
        for (size_t n = 0; n < ARRAY_LEN(texts); n++)
            is_good = is_good || is_field(texts[n], "string", root->keys[i], value) ||
                      is_field(lists[n], "array", root->keys[i], value);
        if (!is_good)
            rest_fail(c, 400, "BadRequest",
                      "field %.*s: name, role and identity are texts, verbs, kinds and namespaces "
                      "are arrays, expiresInSeconds is a number, and there are no others",
                      STR_FMT(str_sub(root->keys[i], 0, 100)));
    }
    return is_good;
}

static bool read_lists(struct rest_call *c, const struct json *root, struct access_rules *r)
{
    const struct json *kinds = json_get(root, "kinds"), *namespaces = json_get(root, "namespaces");
    for (size_t i = 0; i < json_count(kinds); i++) {
        const struct api_kind_info *kind = api_kind_parse(json_str_or(json_at(kinds, i), STR_NULL));
        if (kind == NULL)
            return refuse(c, "a kind is not known");
        r->kinds |= 1u << kind->kind;
    }
    if (json_count(namespaces) > ACCESS_LIST_MAX)
        return refuse(c, "too many namespaces");
    for (size_t i = 0; i < json_count(namespaces); i++) {
        struct str name = json_str_or(json_at(namespaces, i), STR_NULL);
        if (name.len == 0)
            return refuse(c, "namespaces are names");
        r->namespaces[r->namespace_count++] = name;
    }
    return true;
}

static bool is_label(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') ||
              (ch == '-' && i > 0 && i + 1 < name.len)))
            return false;
    }
    return name.len > 0 && name.len <= ACCESS_NAME_LEN_MAX;
}

static bool read_grant(struct rest_call *c, struct access_grant *g)
{
    const struct json *root;
    struct spiffe_id id;
    uint64_t lifetime_s = 0;
    if (json_parse(c->a, str_buf_str(&c->body), 64 * 1024, &root, NULL) != 0)
        return refuse(c, "the body is a JSON object");
    if (!check_fields(c, root))
        return false;
    g->name = json_str_or(json_get(root, "name"), STR_NULL);
    g->identity = json_str_or(json_get(root, "identity"), STR_NULL);
    const struct json *lifetime = json_get(root, "expiresInSeconds");
    if (!is_label(g->name))
        return refuse(c, "name is a DNS label: a to z, 0 to 9 and - inside, 63 at most");
    if (g->identity.len > 0 && spiffe_parse(g->identity, &id) != 0)
        return refuse(c, "identity is a SPIFFE id: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
    if (lifetime != NULL &&
        (!json_u64(lifetime, &lifetime_s) || lifetime_s == 0 || lifetime_s > YEARS_MAX_S))
        return refuse(c, "expiresInSeconds is at least 1 and at most 10 years");
    uint64_t now_s = turn_wall_us(c->server->args.turn) / 1000000;
    g->expires_s = lifetime_s > 0 ? now_s + lifetime_s : 0;
    return read_verbs(c, root, &g->rules.verbs) && read_lists(c, root, &g->rules);
}

static void reply_given(struct rest_call *c, const struct access_grant *g, struct str token)
{
    struct str_buf out = STR_BUF_INIT(REST_ANSWER_BYTES_MAX);
    const struct listen_socket *socket = c->server->remote.socket;
    char at[ADDR_TEXT_LEN];
    struct json_writer w;
    json_writer_init(&w, &out, 0);
    json_writer_object(&w, NULL);
    json_writer_str(&w, "name", g->name);
    json_writer_str(&w, "token", token);
    json_writer_str(&w, "server", socket != NULL ? addr_format(listen_addr(socket), at) : STR_NULL);
    json_writer_str(&w, "ca", ca_bundle(c->server->args.ca));
    json_writer_end(&w);
    rest_reply(c, 201, str_buf_str(&out));
    secret_wipe(out.ptr, out.cap);
    str_buf_deinit(&out);
}

/* Before it happens: an act that nobody could trace is not done. False: answered. */
static bool audit(struct rest_call *c, const char *verb, struct str name)
{
    struct store_author by = rest_author(c, verb);
    by.note = arena_str(c->a, name);
    int err = store_audit(c->server->args.store, &by);
    if (err != 0)
        rest_fail_store(c, err, NULL);
    return err == 0;
}

static void give(struct rest_call *c)
{
    struct access_grant g = {.created_at = rest_author(c, "").at};
    struct str_buf token = STR_BUF_INIT(256);
    if (!read_grant(c, &g) || !audit(c, "access-create", g.name))
        return;
    int err = access_give(c->server->args.store, &g, &token);
    if (err == 0) {
        reply_given(c, &g, str_buf_str(&token));
    } else if (err == -ERR_EXISTS) {
        rest_fail(c, 409, "AlreadyExists", "access \"%.*s\", or one for this identity, is there",
                  STR_FMT(g.name));
    } else if (err == -ERR_LIMIT) {
        rest_fail(c, 429, "TooManyRequests", "%d are there already", ACCESS_COUNT_MAX);
    } else {
        rest_fail_store(c, err, NULL);
    }
    if (token.ptr != NULL)
        secret_wipe(token.ptr, token.cap);
    str_buf_deinit(&token);
}

static void take(struct rest_call *c, struct str name)
{
    struct str principal;
    if (!audit(c, "access-revoke", str_sub(name, 0, ACCESS_NAME_LEN_MAX)))
        return;
    int err = access_take(c->server->args.store, name, c->a, &principal);
    if (err == -ERR_NOT_FOUND) {
        rest_fail(c, 404, "NotFound", "access \"%.*s\" is not there",
                  STR_FMT(str_sub(name, 0, 100)));
    } else if (err != 0) {
        rest_fail_store(c, err, NULL);
    } else {
        rest_watch_end_of(c->server, principal);
        rest_reply(c, 200,
                   STR("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Success\"}"));
    }
}

bool rest_access(struct rest_call *c)
{
    if (!rest_is_own(c, "access") || c->path_count > 4)
        return false;
    if (!rest_may(c, ACCESS_ADMIN, NULL, STR_NULL))
        return true;
    if (c->path_count == 3 && rest_is_method(c, "GET"))
        list(c);
    else if (c->path_count == 3 && rest_is_method(c, "POST"))
        give(c);
    else if (c->path_count == 4 && rest_is_method(c, "DELETE"))
        take(c, c->path[3]);
    else
        rest_fail(c, 405, "MethodNotAllowed", "GET and POST, or DELETE of one");
    return true;
}
