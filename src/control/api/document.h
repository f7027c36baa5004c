/* Documents: YAML or JSON in, typed and validated structs out.
 *
 * A document is immutable and counted; everything in it, its typed spec too, lives in its own arena
 * until the last reference goes. Thread: references are taken and dropped on one thread.
 *
 * What cannot be honoured is refused, never ignored: unknown fields with the nearest known name,
 * known but unbuilt ones as "not supported yet", each with its place. */
#pragma once

#include "base/arena.h"
#include "base/vec.h"
#include "control/api/findings.h"
#include "control/api/kind.h"
#include "control/api/value.h"

struct api_path_place {
    uint64_t hash; /* of the path */
    struct api_place place;
};

struct api_document {
    enum api_kind kind;
    struct str api_version; /* as written: "networking.istio.io/v1beta1" */
    struct str namespace;   /* "" for kinds without one; else never empty */
    struct str name;
    struct str resource_version; /* metadata.resourceVersion; empty when absent */
    struct api_labels labels, annotations;
    struct str file;
    struct api_place place; /* of the document's first line */
    /* The document as applied, as compact JSON in the order of its fields, with its namespace
     * filled in and without `status` and `metadata.resourceVersion`. Parsing it gives an equal
     * document. */
    struct str json;
    union { /* by kind; nothing for Namespace and ServiceAccount */
        const struct api_service *service;
        const struct api_workload *workload;
        const struct api_mesh *mesh;
        const struct api_virtual_service *virtual_service;
        const struct api_destination_rule *destination_rule;
        const struct api_peer_authentication *peer_authentication;
        const struct api_authorization_policy *authorization_policy;
    } spec;
    const struct api_path_place *paths; /* see api_document_locate; NULL unless asked for */
    size_t path_count;
    uint32_t ref_count;
    struct arena arena;
};

/* Where a path of the document ("spec.http[0].timeout") stands in its file: the value, or the
 * nearest one around it. False when the document was parsed without `is_locatable`. A finding of
 * the server, which saw the document's JSON, is shown by it in the file of the person who wrote. */
bool api_document_locate(const struct api_document *d, struct str path,
                         struct api_place *ret_place);

struct api_document *api_document_ref(struct api_document *d);
struct api_document *api_document_unref(struct api_document *d); /* accepts NULL, returns NULL */

/* "VirtualService/shop/catalog", "Mesh/default": the stem of origins. In the arena. */
struct str api_document_subject(struct arena *a, const struct api_document *d);

/* A document whose envelope was readable but whose spec was not: known by name, so that a
 * reference to it is not reported as well. */
struct api_broken {
    enum api_kind kind;
    struct str namespace, name, file; /* in the list's arena */
    struct api_place place;
};

/* Owns one reference to each of its documents. */
struct api_document_list {
    VEC(struct api_document *) docs;
    VEC(struct api_broken) broken;
    struct arena arena;
};

void api_document_list_init(struct api_document_list *l);
void api_document_list_deinit(struct api_document_list *l);
void api_document_list_add(struct api_document_list *l, struct api_document *d); /* takes a ref */

struct api_source {
    struct str file; /* for findings and places */
    struct str text;
    struct str default_namespace; /* for documents that name none; empty: "default" */
    /* Not 0: the text is a stored document's JSON, which came from this line of the file; every
     * place is that line. */
    uint32_t stored_line;
    bool is_locatable; /* keep what api_document_locate needs */
};

enum {
    API_TEXT_BYTES_MAX = 4 * 1024 * 1024, /* a stream */
    API_DOCUMENT_BYTES_MAX = 1024 * 1024, /* one document, aliases expanded */
    API_ITEMS_MAX = 10000,                /* of one list or map */
};

/* Parses every document of a YAML stream (or JSON: a document, or a `kind: List` of them). The
 * good ones are added to the list, what is wrong with the others to the findings. Returns 0, or
 * -ERR_INVALID when there was an error among the findings of this call. */
int api_document_parse(const struct api_source *source, struct api_document_list *list,
                       struct api_findings *findings);
