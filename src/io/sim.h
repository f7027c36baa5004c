/* The simulated backend: one clock, byte pipes instead of sockets, a seed instead of luck.
 *
 * A turn made by turn_new_sim has no descriptors: conn_connect to an address on which another turn
 * (or the same) of the same world listens makes a pipe pair; bytes arrive in pieces whose sizes,
 * delays and order the seed decides. Time moves only by sim_world_run. */
#pragma once

#include "io/conn.h"

struct sim_world;

struct sim_options {
    uint64_t seed;
    uint32_t latency_us_min, latency_us_max; /* per piece, order within a pipe is kept */
    uint32_t piece_bytes_max;                /* 0: whole; 1: byte by byte */
    uint32_t pipe_bytes_max;                 /* what a pipe holds before the writer blocks */
};

struct sim_world *sim_world_new(const struct sim_options *options);
struct sim_world *sim_world_free(struct sim_world *w);
struct turn *turn_new_sim(struct sim_world *w);
uint64_t sim_world_now_us(const struct sim_world *w);
/* Runs all turns until nothing is left to do or the time is reached; returns whether it went quiet.
 */
bool sim_world_run(struct sim_world *w, uint64_t until_us);
/* Makes connects to the address fail: -ERR_REFUSED at once, or silence until the time-out. */
void sim_world_refuse(struct sim_world *w, const struct addr *a, bool is_silent);
/* Captures as a kernel's rules would: connects without a mark arrive at the listener at `to`, which
 * sees as original_dst where they were meant to go. */
void sim_world_capture(struct sim_world *w, const struct addr *to);
/* Cuts all pipes of the address, as a machine that dies (reset) would. */
void sim_world_cut(struct sim_world *w, const struct addr *a);
