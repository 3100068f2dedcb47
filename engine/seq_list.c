/* seq_list.c - a doubly linked list, kept sorted by arrival. */
#include "engine/seq_list.h"

#include <stddef.h>

#include "engine/seq.h"

void seq_list_insert(struct seq_list *l, struct seq *q)
{
    struct seq *before = l->last; /* nearly always the place */
    while (before && before->arrival > q->arrival)
        before = before->prev;
    q->prev = before;
    q->next = before ? before->next : l->first;
    *(before ? &before->next : &l->first) = q;
    *(q->next ? &q->next->prev : &l->last) = q;
    l->n++;
}

void seq_list_remove(struct seq_list *l, struct seq *q)
{
    *(q->prev ? &q->prev->next : &l->first) = q->next;
    *(q->next ? &q->next->prev : &l->last) = q->prev;
    q->next = q->prev = NULL;
    l->n--;
}

struct seq *seq_list_find(const struct seq_list *l, uint64_t conn, uint64_t rid)
{
    struct seq *q = l->first;
    while (q && (q->conn != conn || q->rid != rid))
        q = q->next;
    return q;
}
