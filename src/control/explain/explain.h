/* What would become of a request: which route it takes, which destination, under which mutual TLS,
 * and what the policies of the called workload say. Nothing is decided here: documents are
 * translated (control/translate), encoded and decoded as for a proxy (mesh/xds), and asked by the
 * code that the proxy asks (mesh/match); this module only plays both proxies and writes down why.
 *
 * The answer is one JSON object (docs/explain.md has its fields), which `tulle explain` prints for
 * people. tulled answers for the running mesh, the command line for documents in files.
 *
 * Thread: that of the registry. Pure but for translate's cache. */
#pragma once

#include "codec/json_writer.h"
#include "control/registry/registry.h"
#include "control/store/store.h"
#include "control/translate/translate.h"

enum { EXPLAIN_HEADERS_MAX = 64 };

/* Strings are borrowed for the call; empty where nothing was said. */
struct explain_args {
    struct store *store; /* for the places of documents */
    struct registry *registry;
    struct translate *translate;
    /* The called Workload, or a Service: all that it picks. "NAME" or "NS/NAME", or a name and
     * namespace_. */
    struct str workload, namespace_;
    struct str method, url;    /* method TCP: a connection, url HOST:PORT */
    const struct str *headers; /* "name: value" */
    size_t header_count;
    /* The calling Workload, "NAME" or "NS/NAME". Empty: a caller without sidecar and identity,
     * which connects to the workload itself, in clear. */
    struct str from;
    struct str from_ip; /* the caller's address; empty: its first replica's */
    bool has_addresses; /* false: replicas are made up, nothing is known of their addresses */
};

/* 0 when there is an answer, whatever it says; -ERR_INVALID when the question makes no sense,
 * -ERR_NOT_FOUND when it names a workload that is not there: `why` says so, and what to write
 * instead. */
int explain(const struct explain_args *args, struct json_writer *w, struct str_buf *why);
