"""The liver by the patients that were outlined before: the study's comparator, not the product.

Every outlined patient (atlas) is registered to the new CT, the five that then look most like it are
deformed onto it, and their livers vote. Needs SimpleITK (the extra "evaluation").
"""
