#include "codec/cidr.h"
#include "codec/duration.h"
#include "control/api/reader_priv.h"

enum { DURATION_MS_MAX_DAYS = 3650 };
static const uint64_t duration_ms_max = (uint64_t)DURATION_MS_MAX_DAYS * 24 * 3600 * 1000;

bool in_duration_ms(const struct in *in, bool is_zero_allowed, uint64_t *ret_ms)
{
    struct str text, path;
    uint64_t us;
    /* A plain 0 is a number to YAML and a duration to people. */
    if (is_zero_allowed && yaml_u64(in->node, &us) && us == 0) {
        *ret_ms = 0;
        return true;
    }
    if (!in_text(in, &text))
        return false;
    if (duration_parse(text, &us) != 0) {
        path = in_path(in);
        in_error(in, "write for example 500ms, 3s or 1h30m", "\"%.*s\" is no duration: \"%.*s\"",
                 STR_FMT(path), STR_CLIP(text));
        return false;
    }
    if (us % 1000 != 0 || us / 1000 > duration_ms_max || (us == 0 && !is_zero_allowed)) {
        path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must be whole milliseconds, from %s to %d days, not %.*s",
                 STR_FMT(path), is_zero_allowed ? "0" : "1ms", DURATION_MS_MAX_DAYS,
                 STR_CLIP(text));
        return false;
    }
    *ret_ms = us / 1000;
    return true;
}

struct str in_lower(const struct in *in, struct str text)
{
    char *lower = arena_bytes(in->reader->arena, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return str_from(lower, text.len);
}

void read_str(const struct in *in, void *out)
{
    struct str text;
    if (in_text(in, &text))
        *(struct str *)out = text;
}

void read_str_nonempty(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    if (text.len == 0) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s\" must not be empty", STR_FMT(path));
        return;
    }
    *(struct str *)out = text;
}

void read_bool(const struct in *in, void *out)
{
    bool value;
    if (yaml_bool(in->node, &value)) {
        *(bool *)out = value;
        return;
    }
    struct str path = in_path(in);
    in_error(in, "write true or false", "\"%.*s\" must be a boolean, not %s", STR_FMT(path),
             yaml_kind_text(in->node));
}

static void read_fixed_flag(const struct in *in, bool wanted)
{
    bool value = wanted;
    read_bool(in, &value);
    if (value != wanted)
        in_error_not_yet(in, NULL);
}

void read_false_only(const struct in *in, void *out)
{
    (void)out;
    read_fixed_flag(in, false);
}

void read_true_only(const struct in *in, void *out)
{
    (void)out;
    read_fixed_flag(in, true);
}

void read_port(const struct in *in, void *out)
{
    uint64_t value;
    if (in_number(in, 1, UINT16_MAX, &value))
        *(uint16_t *)out = (uint16_t)value;
}

void read_strs(const struct in *in, void *out)
{
    struct api_strs *strs = out;
    strs->v = in_array(in, sizeof *strs->v, read_str, &strs->len);
}

/* Kubernetes' and Istio's port lists are strings in places; a number means the same. */
static void read_port_of_any(const struct in *in, void *out)
{
    struct str text;
    uint64_t value;
    if (in->node->kind == YAML_SCALAR && in->node->is_quoted && in_text(in, &text) &&
        str_to_u64(text, UINT16_MAX, &value) && value > 0) {
        *(uint16_t *)out = (uint16_t)value;
        return;
    }
    read_port(in, out);
}

void read_ports(const struct in *in, void *out)
{
    struct api_ports *ports = out;
    ports->v = in_array(in, sizeof *ports->v, read_port_of_any, &ports->len);
}

/* --- Optional numbers ----------------------------------------------------------------------- */

static void read_opt(const struct in *in, uint64_t min, uint64_t max, struct api_opt *out)
{
    uint64_t value;
    if (in_number(in, min, max, &value))
        *out = (struct api_opt){true, value};
}

void read_opt_u32(const struct in *in, void *out)
{
    read_opt(in, 0, UINT32_MAX, out);
}

void read_opt_positive(const struct in *in, void *out)
{
    read_opt(in, 1, INT32_MAX, out);
}

void read_opt_percent(const struct in *in, void *out)
{
    read_opt(in, 0, 100, out);
}

void read_opt_ms(const struct in *in, void *out)
{
    uint64_t ms;
    if (in_duration_ms(in, false, &ms))
        *(struct api_opt *)out = (struct api_opt){true, ms};
}

void read_opt_ms_or_0(const struct in *in, void *out)
{
    uint64_t ms;
    if (in_duration_ms(in, true, &ms))
        *(struct api_opt *)out = (struct api_opt){true, ms};
}

/* --- Labels --------------------------------------------------------------------------------- */

static void read_label_map(const struct in *in, struct api_labels *out, bool is_k8s)
{
    if (!in_is_mapping(in)) {
        in_object(in, NULL, 0, NULL); /* says what it should be */
        return;
    }
    size_t count = in_count(in), len = 0;
    struct api_label *labels = ARENA_ARRAY(in->reader->arena, struct api_label, count);
    for (size_t i = 0; i < count; i++) {
        struct in value = in_entry(in, i);
        struct str text;
        if (in_is_null(&value) || !in_text(&value, &text))
            continue;
        if (is_k8s && !name_is_label_key(value.key))
            in_error_key(&value, NULL, "\"%.*s\" is no valid label name", STR_CLIP(value.key));
        else if (is_k8s && !name_is_label_value(text))
            in_error(&value, "letters, digits, - _ . and at most 63 of them",
                     "\"%.*s\" is no valid label value", STR_CLIP(text));
        else
            labels[len++] = (struct api_label){arena_str(in->reader->arena, value.key), text};
    }
    *out = (struct api_labels){labels, len};
}

void read_labels(const struct in *in, void *out)
{
    read_label_map(in, out, false);
}

void read_k8s_labels(const struct in *in, void *out)
{
    read_label_map(in, out, true);
}

void read_selector(const struct in *in, void *out)
{
    static const struct field fields[] = {
        FIELD("matchLabels", read_k8s_labels, struct api_selector, labels),
    };
    struct api_selector *selector = out;
    selector->place = in->place;
    selector->is_set = IN_OBJECT(in, fields, selector);
}

/* --- Addresses and hosts -------------------------------------------------------------------- */

static void read_cidr(const struct in *in, void *out)
{
    struct str text;
    struct cidr cidr;
    if (!in_text(in, &text))
        return;
    if (cidr_parse(text, &cidr, NULL)) {
        *(struct str *)out = text;
        return;
    }
    struct str path = in_path(in);
    in_error(in, "write for example 10.0.0.0/8 or fd00::1", "\"%.*s\" is no address: \"%.*s\"",
             STR_FMT(path), STR_CLIP(text));
}

void read_cidrs(const struct in *in, void *out)
{
    struct api_strs *strs = out;
    strs->v = in_array(in, sizeof *strs->v, read_cidr, &strs->len);
}

void read_host_ref(const struct in *in, void *out)
{
    struct str text;
    if (!in_text(in, &text))
        return;
    if (name_is_host(text, false)) {
        *(struct str *)out = text;
        return;
    }
    struct str path = in_path(in);
    if (name_is_host(text, true))
        in_error(in, NULL, "\"%.*s: %.*s\": wildcard hosts are not supported yet", STR_FMT(path),
                 STR_CLIP(text));
    else
        in_error(in, "write for example catalog or catalog.shop.svc.cluster.local",
                 "\"%.*s\" is no host name: \"%.*s\"", STR_FMT(path), STR_CLIP(text));
}

static void read_only_item(const struct in *in, struct str allowed)
{
    struct str text;
    if (in_text(in, &text) && !str_eq(text, allowed)) {
        struct str path = in_path(in);
        in_error(in, NULL, "\"%.*s: %.*s\" is not supported yet", STR_FMT(path), STR_CLIP(text));
    }
}

static void read_mesh_item(const struct in *in, void *out)
{
    (void)out;
    read_only_item(in, STR("mesh"));
}

static void read_star_item(const struct in *in, void *out)
{
    (void)out;
    read_only_item(in, STR("*"));
}

void read_mesh_only(const struct in *in, void *out)
{
    (void)out;
    size_t count;
    in_array(in, 1, read_mesh_item, &count);
}

void read_everywhere(const struct in *in, void *out)
{
    (void)out;
    size_t count;
    in_array(in, 1, read_star_item, &count);
}
