#include "host/http_call.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "host/netns.h"
#include "host/proc.h"

enum { TIMEOUT_MS_DEFAULT = 10000 };

void http_answer_deinit(struct http_answer *a)
{
    str_buf_deinit(&a->body);
}

/* Takes one CRLF- or LF-ended line off; false when none is complete. */
static bool take_line(struct str *rest, struct str *ret_line)
{
    ptrdiff_t lf = rest->len > 0 ? str_find(*rest, '\n') : -1;
    if (lf < 0)
        return false;
    struct str line = str_sub(*rest, 0, (size_t)lf);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    *rest = str_skip(*rest, (size_t)lf + 1);
    *ret_line = line;
    return true;
}

static bool parse_hex(struct str s, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (s.len == 0 || s.len > 8)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        value = value * 16 + (uint64_t)digit;
    }
    *ret_value = value;
    return true;
}

/* RFC 9112 7.1 */
static int parse_chunked(struct str rest, struct str_buf *body)
{
    for (;;) {
        struct str line;
        uint64_t len;
        if (!take_line(&rest, &line))
            return -ERR_AGAIN;
        ptrdiff_t semicolon = str_find(line, ';');
        if (semicolon >= 0)
            line = str_sub(line, 0, (size_t)semicolon);
        if (!parse_hex(str_trim(line), &len))
            return -ERR_PROTOCOL;
        if (len == 0)
            return 0; /* trailers, if any, are of no interest and the connection ends here */
        if (rest.len < len + 2)
            return -ERR_AGAIN;
        str_buf_add(body, str_sub(rest, 0, len));
        rest = str_skip(rest, len);
        if (!take_line(&rest, &line) || line.len != 0)
            return -ERR_PROTOCOL;
    }
}

struct framing {
    int status;
    bool is_chunked, has_length;
    uint64_t length;
};

static int parse_status(struct str line, int *ret_status)
{
    uint64_t status;
    if (!str_starts_with(line, STR("HTTP/1.")) || line.len < 12 || line.ptr[8] != ' ' ||
        !str_to_u64(str_sub(line, 9, 3), 999, &status) || status < 100)
        return -ERR_PROTOCOL;
    *ret_status = (int)status;
    return 0;
}

static int parse_field(struct str line, struct framing *f)
{
    struct str value = line;
    struct str name = str_split(&value, ':');
    if (value.ptr == NULL || name.len == 0)
        return -ERR_PROTOCOL;
    value = str_trim(value);
    if (str_eq_nocase(name, STR("content-length"))) {
        f->has_length = true;
        return str_to_u64(value, HTTP_CALL_BODY_MAX, &f->length) ? 0 : -ERR_TOO_LARGE;
    }
    if (str_eq_nocase(name, STR("transfer-encoding"))) {
        f->is_chunked = str_eq_nocase(value, STR("chunked"));
        return f->is_chunked ? 0 : -ERR_PROTOCOL;
    }
    return 0;
}

/* Takes the head off *rest; -ERR_AGAIN when it is not complete. */
static int parse_head(struct str *rest, struct framing *ret_framing)
{
    struct framing f = {0};
    struct str line;
    size_t len_before = rest->len;
    if (!take_line(rest, &line))
        return rest->len > HTTP_CALL_HEAD_MAX ? -ERR_TOO_LARGE : -ERR_AGAIN;
    int err = parse_status(line, &f.status);
    while (err == 0) {
        if (len_before - rest->len > HTTP_CALL_HEAD_MAX)
            return -ERR_TOO_LARGE;
        if (!take_line(rest, &line))
            return rest->len > HTTP_CALL_HEAD_MAX ? -ERR_TOO_LARGE : -ERR_AGAIN;
        if (line.len == 0)
            break;
        err = parse_field(line, &f);
    }
    if (err == 0)
        *ret_framing = f;
    return err;
}

static int parse_body(struct str rest, const struct framing *f, bool is_eof, struct str_buf *body)
{
    if (f->is_chunked)
        return parse_chunked(rest, body);
    if (f->has_length) {
        if (rest.len < f->length)
            return -ERR_AGAIN;
        str_buf_add(body, str_sub(rest, 0, f->length));
        return 0;
    }
    if (!is_eof)
        return -ERR_AGAIN;
    str_buf_add(body, rest);
    return 0;
}

int http_call_parse(struct str bytes, bool is_eof, bool is_head, struct http_answer *ret_answer)
{
    struct framing f = {0};
    int err;
    do { /* interim answers come first */
        err = parse_head(&bytes, &f);
    } while (err == 0 && f.status < 200);
    struct str_buf body = STR_BUF_INIT(HTTP_CALL_BODY_MAX);
    if (err == 0 && !is_head && f.status != 204 && f.status != 304)
        err = parse_body(bytes, &f, is_eof, &body);
    if (err == 0 && body.is_overflown)
        err = -ERR_TOO_LARGE;
    if (err == -ERR_AGAIN && is_eof)
        err = -ERR_PROTOCOL;
    if (err != 0) {
        str_buf_deinit(&body);
        return err;
    }
    str_buf_deinit(&ret_answer->body);
    *ret_answer = (struct http_answer){f.status, body};
    return 0;
}

static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now = proc_now_ms();
        if (now >= deadline_ms)
            return -ERR_TIMEOUT;
        struct pollfd pfd = {fd, events, 0};
        int n = poll(&pfd, 1, (int)(deadline_ms - now));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
    }
}

static int open_socket(const struct http_call *call, int domain)
{
    int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (call->netns_fd_plus_1 > 0)
        return netns_socket(call->netns_fd_plus_1 - 1, domain, type);
    int fd = socket(domain, type, 0);
    return fd >= 0 ? fd : err_from_errno(errno);
}

static int make_address(const struct http_call *call, struct sockaddr_storage *ret_addr,
                        socklen_t *ret_len)
{
    *ret_addr = (struct sockaddr_storage){0};
    if (call->unix_path != NULL) {
        struct sockaddr_un *un = (struct sockaddr_un *)ret_addr;
        un->sun_family = AF_UNIX;
        if (strlen(call->unix_path) >= sizeof un->sun_path)
            return -ERR_TOO_LARGE;
        memcpy(un->sun_path, call->unix_path, strlen(call->unix_path) + 1);
        *ret_len = sizeof *un;
        return 0;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)ret_addr;
    in->sin_family = AF_INET;
    in->sin_port = htons(call->port);
    *ret_len = sizeof *in;
    return inet_pton(AF_INET, call->address, &in->sin_addr) == 1 ? 0 : -ERR_INVALID;
}

static int connect_call(const struct http_call *call, uint64_t deadline_ms, int *ret_fd)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int err = make_address(call, &addr, &len);
    if (err != 0)
        return err;
    int fd = open_socket(call, addr.ss_family);
    if (fd < 0)
        return fd;
    int failure = connect(fd, (struct sockaddr *)&addr, len) == 0 ? 0 : errno;
    if (failure == EINPROGRESS) {
        err = wait_for(fd, POLLOUT, deadline_ms);
        socklen_t failure_len = sizeof failure;
        if (err == 0)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &failure_len);
    }
    if (err == 0 && failure != 0)
        err = failure == ENOENT ? -ERR_REFUSED : err_from_errno(failure);
    if (err != 0) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

bool http_call_connects(const struct http_call *call)
{
    int fd;
    uint32_t timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : TIMEOUT_MS_DEFAULT;
    if (connect_call(call, proc_now_ms() + timeout_ms, &fd) != 0)
        return false;
    close(fd);
    return true;
}

static int send_all(int fd, struct str s, uint64_t deadline_ms)
{
    while (s.len > 0) {
        ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n > 0) {
            s = str_skip(s, (size_t)n);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return err_from_errno(errno);
        int err = wait_for(fd, POLLOUT, deadline_ms);
        if (err != 0)
            return err;
    }
    return 0;
}

static int receive(int fd, bool is_head, uint64_t deadline_ms, struct http_answer *ret_answer)
{
    struct str_buf bytes = STR_BUF_INIT(HTTP_CALL_BODY_MAX + HTTP_CALL_HEAD_MAX);
    int err = 0;
    for (;;) {
        char *room = str_buf_reserve(&bytes, 65536);
        if (room == NULL) {
            err = -ERR_TOO_LARGE;
            break;
        }
        ssize_t n = recv(fd, room, 65536, 0);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            err = err_from_errno(errno);
            break;
        }
        if (n < 0) {
            err = wait_for(fd, POLLIN, deadline_ms);
            if (err != 0)
                break;
            continue;
        }
        str_buf_grow(&bytes, (size_t)n);
        err = http_call_parse(str_buf_str(&bytes), n == 0, is_head, ret_answer);
        if (err != -ERR_AGAIN)
            break;
    }
    str_buf_deinit(&bytes);
    return err;
}

int http_call(const struct http_call *call, struct http_answer *ret_answer)
{
    *ret_answer = (struct http_answer){0, STR_BUF_INIT(HTTP_CALL_BODY_MAX)};
    uint64_t deadline =
        proc_now_ms() + (call->timeout_ms > 0 ? call->timeout_ms : TIMEOUT_MS_DEFAULT);
    const char *method = call->method != NULL ? call->method : "GET";
    int fd;
    int err = connect_call(call, deadline, &fd);
    if (err != 0)
        return err;
    struct str_buf head = STR_BUF_INIT(HTTP_CALL_HEAD_MAX);
    str_buf_printf(&head, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method,
                   call->path);
    if (call->content_type != NULL)
        str_buf_printf(&head, "Content-Type: %s\r\n", call->content_type);
    if (call->body.len > 0 || strcmp(method, "GET") != 0)
        str_buf_printf(&head, "Content-Length: %zu\r\n", call->body.len);
    str_buf_add_c(&head, "\r\n");
    err = head.is_overflown ? -ERR_TOO_LARGE : send_all(fd, str_buf_str(&head), deadline);
    if (err == 0)
        err = send_all(fd, call->body, deadline);
    /* A server that refuses early (too large, not allowed) has answered already. */
    if (err == 0 || err == -ERR_CLOSED || err == -ERR_RESET)
        err = receive(fd, strcmp(method, "HEAD") == 0, deadline, ret_answer);
    str_buf_deinit(&head);
    close(fd);
    return err;
}
