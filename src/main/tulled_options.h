/* What tulled is told: by its command line, and by the file that --config names. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tulled_options {
    const char *state, *socket, *xds, *metrics, *mesh, *log_format, *log_level;
    const char *history, *restore, *api, *ca_passphrase_file, *xds_local, *edges;
    const char *documents, *history_bytes_text, *user, *confine;
    uint64_t history_revisions, history_bytes;
    uint64_t edge_count; /* 0: by the number of processors */
};

/* Reads both; the command line counts where both speak. Sets up the log. False: said why, or shown
 * the help (ret_code: what main returns). Texts live for good. */
bool tulled_options_read(int argc, char **argv, struct tulled_options *ret_options, int *ret_code);
