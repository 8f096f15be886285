/* /bin/true of the bench's containers: what its own start would cost is in every contestant's time, and says nothing of them. */
int main(void)
{
    return 0;
}
