/* Intrusive doubly linked list with a head of the same type. An unlinked node points to itself, so
 * list_remove is harmless twice and list_is_linked tells. */
#pragma once

#include "base/util.h"

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(name) ((struct list){&(name), &(name)})

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves all of `from` to the end of `head`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *head, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = head->prev;
    head->prev->next = from->next;
    from->prev->next = head;
    head->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(ptr, type, member) CONTAINER_OF(ptr, type, member)
#define LIST_FIRST(head, type, member)                                                             \
    (list_is_empty(head) ? NULL : LIST_ENTRY((head)->next, type, member))

/* `var` may be removed inside the loop. */
#define LIST_FOREACH(head, var, type, member)                                                      \
    for (type *var = LIST_ENTRY((head)->next, type, member),                                       \
              *var##_next = LIST_ENTRY(var->member.next, type, member);                            \
         &var->member != (head);                                                                   \
         var = var##_next, var##_next = LIST_ENTRY(var##_next->member.next, type, member))
