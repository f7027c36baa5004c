/* `tulle cert`: its parts, and what they share. Inside cli/ only. */
#pragma once

#include "cli/cli.h"
#include "codec/json.h"

struct cert_options {
    const char *mesh; /* chosen */
    const char *out, *lifetime, *name, *bundle, *to, *timeout, *message;
    bool is_forced, is_cancelled;
    enum cli_output output;
};

/* Each returns an exit code. */
int cert_status(struct cli *cli, const struct cert_options *o);
int cert_issue(struct cli *cli, const struct cert_options *o, const char *identity);
int cert_verify_file(struct cli *cli, const struct cert_options *o, const char *file);
int cert_root_rotate(struct cli *cli, const struct cert_options *o);

struct str cert_text(const struct json *v, const char *key);
uint64_t cert_number(const struct json *v, const char *key);
bool cert_is(const struct json *v, const char *key);
/* "12d", "23h10m", "4m05s", "over" */
enum { CERT_LEFT_LEN = 32 };
const char *cert_left(int64_t seconds, char buf[CERT_LEFT_LEN]);
