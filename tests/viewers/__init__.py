"""Other people's viewers and readers, asked what they show of our results. `make test-viewers`"""
