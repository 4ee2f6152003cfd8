"""Selection of covariates: sets of bands compared on samples that were held out."""
