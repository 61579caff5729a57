/* The part of OpenMP's runtime that gcc's `parallel for` calls, in threads that ThreadSanitizer can follow: it does not
   understand how libgomp's threads wait for each other, and reports races where there are none. */

#include <pthread.h>
#include <stdlib.h>

enum { MOST = 64 };

typedef struct {
    void (*body)(void *);
    void *data;
    int number;
} share;

static __thread int thread_number, team = 1;
static int team_size;

int omp_get_max_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    const int number = text ? atoi(text) : 1;
    return number < 1 ? 1 : number > MOST ? MOST : number;
}

int omp_get_thread_num(void)
{
    return thread_number;
}

int omp_get_num_threads(void)
{
    return team;
}

static void *run(void *at)
{
    const share *s = at;
    thread_number = s->number;
    team = team_size;
    s->body(s->data);
    return NULL;
}

/* The body in all threads of a team, of which this is number 0; it ends when all have ended. */
void GOMP_parallel(void (*body)(void *), void *data, unsigned number, unsigned flags)
{
    pthread_t threads[MOST];
    share shares[MOST];
    (void)flags;
    team_size = number ? (int)number : omp_get_max_threads();
    for (int i = 1; i < team_size; i++) {
        shares[i] = (share){body, data, i};
        if (pthread_create(threads + i, NULL, run, shares + i))
            abort();
    }
    shares[0] = (share){body, data, 0};
    run(shares);
    team = 1;
    for (int i = 1; i < team_size; i++)
        pthread_join(threads[i], NULL);
}
