#include "control/api/document.h"

#include <stdlib.h>

#include "base/err.h"
#include "control/api/document_priv.h"
#include "control/api/reader_priv.h"

/* --- The envelope: apiVersion, kind, metadata ----------------------------------------------- */

static const struct field metadata_fields[] = {
    FIELD("name", read_str, struct api_document, name),
    FIELD("namespace", read_str, struct api_document, namespace),
    FIELD("labels", read_k8s_labels, struct api_document, labels),
    FIELD("annotations", read_labels, struct api_document, annotations),
    FIELD("resourceVersion", read_str, struct api_document, resource_version),
    FIELD_NOT_YET("generateName"),
    FIELD_NO_MATTER("uid"),
    FIELD_NO_MATTER("creationTimestamp"),
    FIELD_NO_MATTER("generation"),
    FIELD_NO_MATTER("managedFields"),
    FIELD_NO_MATTER("ownerReferences"),
    FIELD_NO_MATTER("finalizers"),
    FIELD_NO_MATTER("selfLink"),
};

static const struct field spec_root[] = {
    FIELD_NO_MATTER("apiVersion"), FIELD_NO_MATTER("kind"),   FIELD_NO_MATTER("metadata"),
    FIELD_NO_MATTER("spec"),       FIELD_NO_MATTER("status"),
};

/* Kubernetes gives them meaning for pods; the mesh takes the account's name only. */
static const struct field service_account_root[] = {
    FIELD_NO_MATTER("apiVersion"),       FIELD_NO_MATTER("kind"),
    FIELD_NO_MATTER("metadata"),         FIELD_NO_MATTER("secrets"),
    FIELD_NO_MATTER("imagePullSecrets"), FIELD_NO_MATTER("automountServiceAccountToken"),
};

/* A reader of a spec fills d->spec. */
static const struct kind_reader {
    spec_read_fn *read; /* NULL: the kind has no spec that matters */
    bool is_spec_required;
    const struct field *root;
    size_t root_count;
} kind_readers[API_KIND_COUNT] = {
#define ROOT(fields) (fields), ARRAY_LEN(fields)
    [API_KIND_NAMESPACE] = {NULL, false, ROOT(spec_root)},
    [API_KIND_SERVICE_ACCOUNT] = {NULL, false, ROOT(service_account_root)},
    [API_KIND_SERVICE] = {service_read, true, ROOT(spec_root)},
    [API_KIND_WORKLOAD] = {workload_read, true, ROOT(spec_root)},
    [API_KIND_MESH] = {mesh_read, false, ROOT(spec_root)},
    [API_KIND_VIRTUAL_SERVICE] = {virtual_service_read, true, ROOT(spec_root)},
    [API_KIND_DESTINATION_RULE] = {destination_rule_read, true, ROOT(spec_root)},
    [API_KIND_PEER_AUTHENTICATION] = {peer_authentication_read, false, ROOT(spec_root)},
    [API_KIND_AUTHORIZATION_POLICY] = {authorization_policy_read, false, ROOT(spec_root)},
#undef ROOT
};

static void error_kind_unknown(const struct in *doc, const struct in *kind_in,
                               struct str api_version, struct str kind)
{
    char hint[128];
    if (api_kind_is_known_elsewhere(api_version, kind)) {
        in_error(kind_in, NULL, "kind %.*s (%.*s) is not supported yet", STR_CLIP(kind),
                 STR_CLIP(api_version));
        return;
    }
    const struct api_kind_info *same_name = api_kind_parse(kind);
    struct in version_in;
    if (same_name != NULL && str_eq(kind, str_from_c(same_name->name)) &&
        in_get(doc, "apiVersion", &version_in)) {
        snprintf(hint, sizeof hint, "write %s%s%s", same_name->group,
                 same_name->group[0] != '\0' ? "/" : "", same_name->versions[0]);
        in_error(&version_in, hint, "apiVersion \"%.*s\" has no kind %s", STR_CLIP(api_version),
                 same_name->name);
        return;
    }
    const char *nearest = api_kind_nearest(kind);
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", nearest);
    in_error(kind_in, nearest != NULL ? hint : NULL, "unknown kind \"%.*s\"", STR_CLIP(kind));
}

static const struct api_kind_info *read_kind(const struct in *doc, struct api_document *d)
{
    struct in version_in, kind_in;
    struct str version = STR_NULL, kind = STR_NULL;
    bool has_version = in_get(doc, "apiVersion", &version_in);
    bool has_kind = in_get(doc, "kind", &kind_in);
    if (!has_version)
        in_error(doc, NULL, "\"apiVersion\" is missing");
    if (!has_kind)
        in_error(doc, NULL, "\"kind\" is missing");
    if (!has_version || !has_kind)
        return NULL;
    bool is_text = in_text(&version_in, &version);
    is_text &= in_text(&kind_in, &kind);
    if (!is_text)
        return NULL;
    const struct api_kind_info *info = api_kind_by_document(version, kind);
    if (info == NULL) {
        error_kind_unknown(doc, &kind_in, version, kind);
        return NULL;
    }
    d->kind = info->kind;
    d->api_version = version;
    return info;
}

/* Names become parts of DNS names, SPIFFE ids and paths: nothing but letters that are safe there.
 */
static bool check_name(const struct in *doc, const struct in *metadata, struct api_document *d)
{
    struct in name_in;
    if (!in_get(metadata, "name", &name_in)) {
        if (d->kind == API_KIND_MESH) {
            d->name = STR("default");
            return true;
        }
        in_error(metadata->node != NULL ? metadata : doc, NULL, "\"metadata.name\" is missing");
        return false;
    }
    bool is_label = d->kind == API_KIND_SERVICE || d->kind == API_KIND_NAMESPACE ||
                    d->kind == API_KIND_WORKLOAD;
    if (d->name.ptr == NULL)
        return false; /* was no string: reported */
    if (is_label ? name_is_dns_label(d->name) : name_is_dns_subdomain(d->name))
        return true;
    in_error(&name_in, is_label ? "a-z, 0-9 and -, at most 63" : "a-z, 0-9, - and ., at most 253",
             "\"%.*s\" is no valid name", STR_CLIP(d->name));
    return false;
}

static bool check_namespace(const struct in *metadata, const struct api_kind_info *info,
                            struct str fallback, struct api_document *d)
{
    struct in namespace_in;
    if (!in_get(metadata, "namespace", &namespace_in)) {
        d->namespace = !info->is_namespaced ? STR("") : arena_str(&d->arena, fallback);
        namespace_in = *metadata;
    } else if (!info->is_namespaced) {
        in_error_key(&namespace_in, "leave it out", "kind %s has no namespace", info->name);
        return false;
    }
    if (d->namespace.ptr == NULL)
        return false; /* was no string: reported */
    if (info->is_namespaced && !name_is_dns_label(d->namespace)) {
        in_error(&namespace_in, "a-z, 0-9 and -, at most 63", "\"%.*s\" is no valid namespace",
                 STR_CLIP(d->namespace));
        return false;
    }
    return true;
}

static void check_annotations(const struct in *metadata, const struct api_document *d)
{
    static const char *const foreign[] = {"sidecar.istio.io/", "proxy.istio.io/",
                                          "traffic.sidecar.istio.io/", "inject.istio.io/"};
    struct in annotations;
    if (!in_get(metadata, "annotations", &annotations))
        return;
    for (size_t i = 0; i < in_count(&annotations); i++) {
        struct in a = in_entry(&annotations, i);
        /* A policy that is meant as a rehearsal must not become real. */
        if (d->kind == API_KIND_AUTHORIZATION_POLICY && str_eq(a.key, STR("istio.io/dry-run")) &&
            !str_eq(a.node->text, STR("false")))
            in_error_key(&a, NULL, "annotation istio.io/dry-run is not supported yet");
        for (size_t j = 0; j < ARRAY_LEN(foreign); j++)
            if (str_starts_with(a.key, str_from_c(foreign[j])))
                in_warning(&a, NULL, "annotation %.*s has no effect", STR_CLIP(a.key));
    }
}

/* False when the document cannot even be named. */
static bool read_envelope(const struct in *doc, struct str default_namespace,
                          struct api_document *d)
{
    const struct api_kind_info *info = read_kind(doc, d);
    if (info == NULL)
        return false;
    struct in metadata = {.reader = doc->reader};
    if (in_get(doc, "metadata", &metadata) && !IN_OBJECT(&metadata, metadata_fields, d))
        return false;
    bool is_named = check_name(doc, &metadata, d);
    is_named &= check_namespace(&metadata, info, default_namespace, d);
    if (metadata.node != NULL)
        check_annotations(&metadata, d);
    return is_named;
}

/* --- One document --------------------------------------------------------------------------- */

static void read_spec(const struct in *doc, struct api_document *d)
{
    static const struct yaml_node empty = {.kind = YAML_MAP};
    const struct kind_reader *reader = &kind_readers[d->kind];
    in_object(doc, reader->root, reader->root_count, NULL);
    struct in spec = *doc;
    if (reader->read == NULL)
        return;
    if (!in_get(doc, "spec", &spec)) {
        if (reader->is_spec_required) {
            in_error(doc, NULL, "\"spec\" is missing");
            return;
        }
        spec.node = &empty;
    }
    reader->read(&spec, d);
}

static struct api_document *document_new(const struct api_source *source,
                                         const struct yaml_node *root)
{
    struct api_document *d = NEW(struct api_document);
    d->ref_count = 1;
    arena_init(&d->arena, 2048);
    d->file = arena_str(&d->arena, source->file);
    d->place = (struct api_place){root->line, root->column};
    if (source->stored_line != 0)
        d->place = (struct api_place){source->stored_line, 1};
    return d;
}

static void add_broken(struct api_document_list *list, const struct api_document *d)
{
    struct api_broken broken = {
        .kind = d->kind,
        .namespace = arena_str(&list->arena, d->namespace),
        .name = arena_str(&list->arena, d->name),
        .file = arena_str(&list->arena, d->file),
        .place = d->place,
    };
    VEC_PUSH(&list->broken, broken);
}

struct parse {
    const struct api_source *source;
    struct str default_namespace;
    struct api_document_list *list;
    struct api_findings *findings;
    struct arena scratch;
};

static void parse_one(struct parse *p, const struct yaml_node *root)
{
    struct api_document *d = document_new(p->source, root);
    struct reader r = {
        .arena = &d->arena,
        .findings = p->findings,
        .file = p->source->file,
        .stored_line = p->source->stored_line,
    };
    struct in doc = {.reader = &r, .node = root, .place = d->place, .key_place = d->place};
    const struct yaml_node *too_long = NULL;
    if (!document_json_fits(root)) {
        in_error(&doc, NULL, "the document is larger than %d bytes", API_DOCUMENT_BYTES_MAX);
    } else if ((too_long = document_json_too_long(root)) != NULL) {
        doc.place = (struct api_place){too_long->line, too_long->column};
        in_error(&doc, NULL, "%s has more than %d items", yaml_kind_text(too_long), API_ITEMS_MAX);
    } else if (!in_is_mapping(&doc)) {
        in_object(&doc, NULL, 0, NULL); /* says so */
    } else if (read_envelope(&doc, p->default_namespace, d)) {
        r.subject = api_document_subject(&p->findings->arena, d);
        read_spec(&doc, d);
        if (r.error_count == 0 && document_json_write(&p->scratch, root, d) != 0)
            in_error(&doc, NULL, "the document is larger than %d bytes", API_DOCUMENT_BYTES_MAX);
        if (r.error_count == 0 && p->source->is_locatable)
            document_path_index(root, d);
        if (r.error_count == 0)
            api_document_list_add(p->list, d);
        else
            add_broken(p->list, d);
    }
    api_document_unref(d);
}

/* What `kubectl get -o yaml` prints for several documents. */
static bool is_list(const struct yaml_node *root)
{
    struct str kind;
    const struct yaml_node *items = yaml_get(root, "items");
    return yaml_str(yaml_get(root, "kind"), &kind) && str_eq(kind, STR("List")) && items != NULL &&
           items->kind == YAML_SEQ;
}

static void parse_document(struct parse *p, const struct yaml_node *root)
{
    if (!is_list(root)) {
        parse_one(p, root);
        return;
    }
    const struct yaml_node *items = yaml_get(root, "items");
    for (uint32_t i = 0; i < items->count; i++)
        parse_one(p, items->items[i]);
}

/* --- The stream ----------------------------------------------------------------------------- */

static void add_yaml_errors(struct parse *p, const struct yaml_stream *stream)
{
    for (uint32_t i = 0; i < stream->error_count; i++) {
        const struct yaml_error *e = &stream->errors[i];
        struct api_finding finding = {
            .severity = API_ERROR,
            .file = p->source->file,
            .place = {e->line, e->column},
            .text = e->text,
        };
        api_findings_add(p->findings, &finding);
    }
}

int api_document_parse(const struct api_source *source, struct api_document_list *list,
                       struct api_findings *findings)
{
    struct parse p = {
        .source = source,
        .default_namespace = source->default_namespace,
        .list = list,
        .findings = findings,
    };
    if (p.default_namespace.len == 0)
        p.default_namespace = STR("default");
    size_t errors_before = findings->error_count;
    struct yaml_limits limits = yaml_limits_default;
    limits.len_max = API_TEXT_BYTES_MAX;
    struct yaml_stream stream = {0};
    arena_init(&p.scratch, 4096);
    yaml_parse(&p.scratch, source->text, &limits, &stream);
    add_yaml_errors(&p, &stream);
    for (uint32_t i = 0; i < stream.document_count; i++)
        parse_document(&p, stream.documents[i]);
    arena_deinit(&p.scratch);
    return findings->error_count > errors_before ? -ERR_INVALID : 0;
}
