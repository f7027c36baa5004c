#include "cli/documents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum { DEPTH_MAX = 32, READ_LEN = 64 * 1024 };

struct walk {
    struct str default_namespace;
    struct api_document_list *list;
    struct api_findings *findings;
    size_t file_count;
};

static void add_error(struct walk *w, const char *file, const char *what)
{
    struct api_finding finding = {
        .severity = API_ERROR,
        .file = str_from_c(file),
        .place = {1, 1},
        .text = str_from_c(what),
    };
    api_findings_add(w->findings, &finding);
}

/* The whole of a descriptor; false, with errno, when it cannot be read. What is longer than a
 * stream may be is cut one byte later, so that the parser says so. */
static bool read_all(int fd, struct str_buf *out)
{
    while (out->len <= API_TEXT_BYTES_MAX) {
        char *room = str_buf_reserve(out, READ_LEN);
        if (room == NULL)
            return true;
        ssize_t n = read(fd, room, READ_LEN);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        str_buf_grow(out, (size_t)n);
    }
    return true;
}

static void parse_fd(struct walk *w, int fd, const char *name)
{
    struct str_buf text = STR_BUF_INIT(API_TEXT_BYTES_MAX + 2 * READ_LEN);
    if (!read_all(fd, &text)) {
        add_error(w, name, strerror(errno));
    } else {
        struct api_source source = {
            .file = str_from_c(name),
            .text = str_buf_str(&text),
            .default_namespace = w->default_namespace,
            .is_locatable = true,
        };
        w->file_count++;
        api_document_parse(&source, w->list, w->findings);
    }
    str_buf_deinit(&text);
}

static void parse_file(struct walk *w, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        add_error(w, path, strerror(errno));
        return;
    }
    parse_fd(w, fd, path);
    close(fd);
}

static int is_wanted(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static bool is_yaml(const char *name)
{
    struct str s = str_from_c(name);
    return str_ends_with(s, STR(".yaml")) || str_ends_with(s, STR(".yml"));
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void walk_folder(struct walk *w, const char *path, unsigned depth);

static void walk_entry(struct walk *w, const char *folder, const char *name, unsigned depth)
{
    struct str_buf path = STR_BUF_INIT(PATH_MAX);
    struct stat st, link;
    bool has_slash = str_ends_with(str_from_c(folder), STR("/"));
    str_buf_printf(&path, "%s%s%s", folder, has_slash ? "" : "/", name);
    if (path.is_overflown || lstat(path.ptr, &link) != 0 || stat(path.ptr, &st) != 0) {
        if (is_yaml(name))
            add_error(w, path.is_overflown ? folder : path.ptr, strerror(errno));
    } else if (S_ISDIR(link.st_mode)) {
        walk_folder(w, path.ptr, depth + 1);
    } else if (S_ISREG(st.st_mode) && is_yaml(name)) {
        parse_file(w, path.ptr);
    }
    str_buf_deinit(&path);
}

static void walk_folder(struct walk *w, const char *path, unsigned depth)
{
    struct dirent **entries;
    if (depth > DEPTH_MAX) {
        add_error(w, path, "too many folders inside each other");
        return;
    }
    int count = scandir(path, &entries, is_wanted, compare_names);
    if (count < 0) {
        add_error(w, path, strerror(errno));
        return;
    }
    for (int i = 0; i < count; i++) {
        walk_entry(w, path, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
}

int documents_read(const char *path, struct str default_namespace, struct api_document_list *list,
                   struct api_findings *findings, size_t *file_count)
{
    struct walk w = {.default_namespace = default_namespace, .list = list, .findings = findings};
    size_t errors_before = findings->error_count;
    struct stat st;
    if (strcmp(path, "-") == 0)
        parse_fd(&w, STDIN_FILENO, "<stdin>");
    else if (stat(path, &st) != 0)
        add_error(&w, path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        walk_folder(&w, path, 0);
    else
        parse_file(&w, path);
    *file_count += w.file_count;
    return findings->error_count > errors_before ? -ERR_INVALID : 0;
}
