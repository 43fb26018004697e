/*
 * print.h - what the callsign command shows.
 *
 * On a terminal a table with headings; elsewhere the same columns without
 * headings, separated by tabs, for scripts; with --json one JSON object.
 * Names are shown with control characters as \xNN.
 *
 * Threads: none. Memory: none that outlives a call.
 */
#ifndef CALLSIGN_CLIENT_PRINT_H
#define CALLSIGN_CLIENT_PRINT_H

#include <stdbool.h>
#include <stdio.h>

struct callsign_answer;
struct callsign_cluster;
struct callsign_entry;
struct callsign_event;

enum print_form { PRINT_TABLE, PRINT_PLAIN, PRINT_JSON };

/* For all that follows; false to begin with. */
void print_use_colors(bool use);

/* Columns: node, process, revision, environment, name. */
void print_entry(FILE *out, enum print_form form, const struct callsign_entry *entry);

/* Not for PRINT_JSON: the replica's own JSON serves that. */
void print_cluster(FILE *out, enum print_form form, const struct callsign_cluster *cluster);

void print_members(FILE *out, enum print_form form, const struct callsign_cluster *cluster);

/* "ok", or what is wrong. */
void print_health(FILE *out, const struct callsign_cluster *cluster);

/* Columns: event, revision, node, process, name. */
void print_event(FILE *out, enum print_form form, const struct callsign_event *event);

/* {"outcome":...,"code":...,"message":...[,"current":entry]} */
void print_failure_json(FILE *out, const struct callsign_answer *answer);

/* A message for people on one line, which came from outside. */
void print_visible(FILE *out, const char *message);

#endif
