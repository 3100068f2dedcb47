#ifndef SLUICE_ENGINE_SEQ_LIST_H
#define SLUICE_ENGINE_SEQ_LIST_H
/* seq_list - sequences in order of arrival: those that wait, those that run. Threaded through the
 * sequences themselves, so a sequence is in one list at most. */

#include <stdint.h>

struct seq;

struct seq_list {
    struct seq *first, *last;
    int32_t n;
};

void seq_list_insert(struct seq_list *l, struct seq *q);
void seq_list_remove(struct seq_list *l, struct seq *q);
struct seq *seq_list_find(const struct seq_list *l, uint64_t conn, uint64_t rid); /* or NULL */

#endif
