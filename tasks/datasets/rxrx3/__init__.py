"""RxRx3-core: CRISPR knockouts and compounds in HUVEC cells."""
