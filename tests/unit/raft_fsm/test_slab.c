#include "slab.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "testrandom.h"

enum { OBJECTS = 20000 };

static void gives_memory_that_is_aligned_and_apart(void **state)
{
    struct slab *s = slab_new();
    uint8_t **objects = calloc(OBJECTS, sizeof *objects);
    size_t *sizes = calloc(OBJECTS, sizeof *sizes);
    struct testrandom random;

    (void)state;
    testrandom_init(&random);
    for (unsigned i = 0; i < OBJECTS; i++) {
        sizes[i] = 1 + testrandom_below(&random, SLAB_OBJECT_MAX);
        objects[i] = slab_alloc(s, sizes[i]);
        assert_int_equal((uintptr_t)objects[i] % SLAB_ALIGN, 0);
        memset(objects[i], (int)(i % 251), sizes[i]);
    }
    assert_int_equal(slab_objects(s), OBJECTS);
    for (unsigned i = 0; i < OBJECTS; i++) {
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_true(objects[i][at] == i % 251);
        }
    }
    free(objects);
    free(sizes);
    slab_drop(s);
}

static void uses_freed_memory_again(void **state)
{
    struct slab *s = slab_new();
    uint8_t *a = slab_alloc(s, 72);
    uint8_t *b = slab_alloc(s, 72);

    (void)state;
    slab_free(s, a);
    assert_ptr_equal(slab_alloc(s, 65), a);
    assert_ptr_not_equal(slab_alloc(s, 64), b);
    assert_int_equal(slab_objects(s), 3);
    slab_drop(s);
}

static void gives_empty_chunks_back_but_one(void **state)
{
    struct slab *s = slab_new();
    void **objects = calloc(OBJECTS, sizeof *objects);

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < OBJECTS; i++) {
            objects[i] = slab_alloc(s, 1000);
        }
        /* 1048 objects of 1000 bytes fit a chunk. */
        assert_int_equal(slab_bytes(s) / SLAB_CHUNK_BYTES, OBJECTS / 1048 + 1);
        for (unsigned i = 0; i < OBJECTS; i++) {
            slab_free(s, objects[(i * 7919) % OBJECTS]);
        }
        assert_int_equal(slab_objects(s), 0);
        assert_int_equal(slab_bytes(s), SLAB_CHUNK_BYTES);
    }
    free(objects);
    slab_drop(s);
}

static void *drop(void *data)
{
    slab_drop(data);
    return NULL;
}

static void lives_while_held(void **state)
{
    struct slab *s = slab_new();
    char *text = slab_alloc(s, 6);
    pthread_t other;

    (void)state;
    memcpy(text, "still", 6);
    slab_hold(s);
    assert_int_equal(pthread_create(&other, NULL, drop, s), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_string_equal(text, "still");
    slab_drop(s);
    slab_drop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_memory_that_is_aligned_and_apart),
        cmocka_unit_test(uses_freed_memory_again),
        cmocka_unit_test(gives_empty_chunks_back_but_one),
        cmocka_unit_test(lives_while_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
