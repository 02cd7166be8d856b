/* Times MPI_Allreduce: sum of floats, and prints one line of JSON. Built and run by ../src/allreduce.rs.
 *
 *   mpirun -n RANKS mpi_allreduce BYTES
 *
 * As `flexmig bench allreduce` does: warm up, as many operations as take about 0.2 s, the time of the
 * slowest rank, and at last every element of a sum of known data. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static double operations(float *data, int count, int times) {
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (int i = 0; i < times; i++)
        MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    double own = (MPI_Wtime() - start) / times, slowest;
    MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return slowest;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, ranks, length, count = argc == 2 ? atoi(argv[1]) / 4 : 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    float *data = calloc(count > 0 ? count : 1, sizeof *data);
    if (count <= 0 || !data) {
        fprintf(stderr, "usage: mpi_allreduce BYTES (a multiple of 4)\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
        return 2;
    }
    operations(data, count, 2);
    double once = operations(data, count, 2);
    int times = once < 0.05 ? (int)(0.2 / once) : 4;
    double time = operations(data, count, times);
    for (int i = 0; i < count; i++)
        data[i] = (float)(i % 1021 + rank);
    operations(data, count, 1);
    long wrong = 0, all;
    for (int i = 0; i < count; i++)
        wrong += data[i] != (float)(ranks * (i % 1021) + ranks * (ranks - 1) / 2);
    MPI_Reduce(&wrong, &all, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Get_library_version(version, &length);
    for (int i = 0; i < length; i++)
        if (version[i] == ',' || version[i] == '"' || version[i] == '\n')
            version[i] = 0;
    if (rank == 0)
        printf("{\"time_us\": %.3f, \"errors\": %ld, \"version\": \"%s\"}\n", time * 1e6, all, version);
    MPI_Finalize();
    return 0;
}
